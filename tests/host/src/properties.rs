//! What the filter can ask of a request and of the proxy by path.

use crate::abi::Status;
use crate::guest::{Call, Callback, Stop, crash};
use crate::settings::Profile;
use crate::stream::Stream;
use crate::world::World;

/// Known to nginx and not settable.
const NGINX_READ_ONLY: &[&str] = &[
    "request.path",
    "request.url_path",
    "request.host",
    "request.method",
    "request.scheme",
    "source.address",
    "plugin_name",
    "plugin_root_id",
];

/// Known to the ABI and not to nginx, which complains about each question.
const NGINX_UNSUPPORTED: &[&str] = &[
    "node",
    "route_name",
    "cluster_name",
    "listener_direction",
    "xds",
];

pub(crate) fn get(call: &Call<'_, '_>, path: &str) -> Result<Vec<u8>, Stop> {
    let guest = call.guest();
    let root = guest.in_root;
    if guest.profile == Profile::Nginx {
        if path == "plugin_name" && (root || guest.callback == Callback::Configure) {
            return crash("plugin_name in a root context");
        }
        if root && path.contains('.') {
            call.complain(format!("property {path:?} in a root context"));
            return Err(Status::INTERNAL_FAILURE.into());
        }
        let first = path.split('.').next().unwrap_or_default();
        if NGINX_UNSUPPORTED.contains(&first) {
            call.complain(format!("property {path:?} is not supported"));
            return Err(Status::NOT_FOUND.into());
        }
    }
    let world = guest.world.borrow();
    if let Some(value) = world.settings.properties.get(path) {
        return Ok(value.clone());
    }
    let stream = world
        .streams
        .get(&guest.effective)
        .filter(|stream| stream.is_open());
    let value = match guest.profile {
        Profile::Envoy => of_envoy(&world, stream, path),
        Profile::Nginx => of_nginx(&world, stream, path),
    };
    value.ok_or_else(|| Status::NOT_FOUND.into())
}

fn of_envoy(world: &World, stream: Option<&Stream>, path: &str) -> Option<Vec<u8>> {
    let text = |text: &str| Some(text.as_bytes().to_vec());
    match path {
        // Not `node.id`, as Envoys before had it. A string that nobody set is an empty one.
        "xds.node.id" => return text(&world.settings.node_id),
        "plugin_name" => return text("portcullis"),
        "plugin_root_id" => return text(""),
        _ => {}
    }
    let stream = stream?;
    let header = |name: &str| {
        let field = stream.map.iter().find(|(n, _)| n == name.as_bytes());
        field.map(|(_, value)| value.clone())
    };
    match path {
        "source.address" => text(&world.settings.client_address),
        "request.path" => header(":path"),
        "request.url_path" => text(stream.request.target.split('?').next()?),
        "request.host" => header(":authority"),
        "request.method" => header(":method"),
        "request.scheme" => header(":scheme"),
        "request.id" => header("x-request-id"),
        "cluster_name" => text("agents"),
        _ => stream
            .left
            .get(path.strip_prefix("wasm.").unwrap_or(path))
            .cloned(),
    }
}

fn of_nginx(world: &World, stream: Option<&Stream>, path: &str) -> Option<Vec<u8>> {
    let text = |text: &str| Some(text.as_bytes().to_vec());
    match path {
        "plugin_name" => return text("portcullis"),
        "plugin_root_id" => return text(""),
        _ => {}
    }
    let stream = stream?;
    if let Some(name) = path.strip_prefix("ngx.") {
        if name == "nginx_version" {
            return text("1.26.0");
        }
        let declared = world.settings.variables.contains(name);
        return declared.then(|| stream.left.get(name).cloned().unwrap_or_default());
    }
    match path {
        "source.address" => text(world.settings.client_address.rsplit_once(':')?.0),
        "request.path" => text(&stream.request.target),
        "request.url_path" => text(stream.request.target.split('?').next()?),
        // Not what the client asked for: the machine's own name.
        "request.host" => text(&world.settings.machine_name),
        "request.method" => text(&stream.request.method),
        "request.scheme" => text("http"),
        "request.query" => text(
            stream
                .request
                .target
                .split_once('?')
                .map_or("", |(_, query)| query),
        ),
        _ if path.starts_with("wasmx.") => stream.left.get(path).cloned(),
        _ => None,
    }
}

pub(crate) fn set(call: &Call<'_, '_>, path: &str, value: Vec<u8>) -> Result<(), Stop> {
    let id = call.target();
    let profile = call.guest().profile;
    let in_root = call.guest().in_root;
    let world = call.world();
    let mut world = world.borrow_mut();
    let World {
        settings, streams, ..
    } = &mut *world;
    // Filter state and variables outlive the decision: the access log reads them.
    let stream = streams.get_mut(&id).filter(|stream| !stream.deleted);
    let name = match profile {
        Profile::Envoy => path,
        Profile::Nginx if in_root => return Err(Status::INTERNAL_FAILURE.into()),
        Profile::Nginx => match path.strip_prefix("ngx.") {
            Some(name) if settings.variables.contains(name) => name,
            None if path.starts_with("wasmx.") || path == "request.query" => path,
            None if NGINX_READ_ONLY.contains(&path) => return Err(Status::INTERNAL_FAILURE.into()),
            _ => return Err(Status::NOT_FOUND.into()),
        },
    };
    let stream = stream.ok_or(Status::NOT_FOUND)?;
    stream.touched = true;
    stream.left.insert(name.to_owned(), value);
    Ok(())
}
