//! Streaming protocols: WebSocket channels, SPDY/3.1, port-forward.
