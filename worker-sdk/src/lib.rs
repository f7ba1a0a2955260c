//! Write a Gatebus worker: business logic for long-lived connections.
