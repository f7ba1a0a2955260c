//! The gateway: holds clients' connections and takes them to the bus.
