"""A simulated exchange that speaks Coinbase's protocol over real sockets, with its traps."""
