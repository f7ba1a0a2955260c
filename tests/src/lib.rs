//! End-to-end tests: real servers, gateways, workers and browsers.
