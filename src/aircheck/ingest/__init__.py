"""Where streams come from. The only place that owns media sockets."""
