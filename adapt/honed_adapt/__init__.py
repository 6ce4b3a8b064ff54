"""Learning: the feedback log, the instant lane, the gate and versions on disk. Never imports grpc."""
