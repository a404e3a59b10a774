//! The access log: one record per exchange, written off the request path.
