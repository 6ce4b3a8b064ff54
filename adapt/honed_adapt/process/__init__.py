"""The adapt process: its loop, and its words with the server."""
