//! Keeps the driver at what the API says.
