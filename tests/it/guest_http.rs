//! Jobs that answer HTTP requests, and guests that send them.

mod outbound;
