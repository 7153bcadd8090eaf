//! Logstash, and others that speak Lumberjack version 2.

mod settings;

pub use settings::Settings;
