package api

// Version of the program, as `nats micro` and `braid --version` tell it.
const Version = "0.1.0"
