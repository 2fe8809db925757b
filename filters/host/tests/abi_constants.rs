//! The numbers of the ABI, compared with the SDK's. Two readings of one specification rarely err alike.

use portcullis_host::abi;
use portcullis_host::status::Status;
use proxy_wasm::types as sdk;

#[test]
fn actions() {
    assert_eq!(abi::Action::Continue as u32, sdk::Action::Continue as u32);
    assert_eq!(abi::Action::Pause as u32, sdk::Action::Pause as u32);
}

#[test]
fn statuses() {
    for (ours, theirs) in [
        (Status::NOT_FOUND, sdk::Status::NotFound),
        (Status::BAD_ARGUMENT, sdk::Status::BadArgument),
        (Status::PARSE_FAILURE, sdk::Status::ParseFailure),
        (Status::EMPTY, sdk::Status::Empty),
        (Status::CAS_MISMATCH, sdk::Status::CasMismatch),
        (Status::INTERNAL_FAILURE, sdk::Status::InternalFailure),
    ] {
        assert_eq!(ours.0, theirs as i32);
    }
}

#[test]
fn maps_and_buffers() {
    use abi::{BufferType, MapType};
    assert_eq!(
        MapType::HttpRequestHeaders as u32,
        sdk::MapType::HttpRequestHeaders as u32
    );
    assert_eq!(
        MapType::HttpCallResponseHeaders as u32,
        sdk::MapType::HttpCallResponseHeaders as u32
    );
    assert_eq!(
        BufferType::HttpCallResponseBody as u32,
        sdk::BufferType::HttpCallResponseBody as u32
    );
    assert_eq!(
        BufferType::PluginConfiguration as u32,
        sdk::BufferType::PluginConfiguration as u32
    );
}

#[test]
fn metrics_streams_and_levels() {
    use abi::{LogLevel, MetricType, StreamType};
    for (ours, theirs) in [
        (MetricType::Counter, sdk::MetricType::Counter),
        (MetricType::Gauge, sdk::MetricType::Gauge),
        (MetricType::Histogram, sdk::MetricType::Histogram),
    ] {
        assert_eq!(ours as u32, theirs as u32);
    }
    assert_eq!(
        StreamType::HttpRequest as u32,
        sdk::StreamType::HttpRequest as u32
    );
    for (ours, theirs) in [
        (LogLevel::Trace, sdk::LogLevel::Trace),
        (LogLevel::Debug, sdk::LogLevel::Debug),
        (LogLevel::Info, sdk::LogLevel::Info),
        (LogLevel::Warn, sdk::LogLevel::Warn),
        (LogLevel::Error, sdk::LogLevel::Error),
        (LogLevel::Critical, sdk::LogLevel::Critical),
    ] {
        assert_eq!(ours as u32, theirs as u32);
    }
}
