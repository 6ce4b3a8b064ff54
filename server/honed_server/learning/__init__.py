"""The adapt process as the server sees it: started, spoken to, its offers installed."""
