"""What the page costs the browser: its main thread and its memory, with every market ticking."""
