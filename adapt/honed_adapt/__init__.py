"""Learning: the feedback log, the instant lane, the gate, versions on disk. Never imports grpc."""
