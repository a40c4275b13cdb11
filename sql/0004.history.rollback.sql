DROP TABLE history_pages;
