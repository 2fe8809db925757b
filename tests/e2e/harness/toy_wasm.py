"""Hand-made WebAssembly modules that speak just enough proxy-wasm to be loaded: what our own filter must never look like."""

# name of the callback: number of i32 parameters, whether it returns an i32 (proxy-wasm ABI 0.2.1)
_CALLBACKS = {
    "proxy_abi_version_0_2_1": (0, False),
    "proxy_on_memory_allocate": (1, True),
    "proxy_on_context_create": (2, False),
    "proxy_on_vm_start": (2, True),
    "proxy_on_configure": (2, True),
    "proxy_on_request_headers": (3, True),
}
_I32, _UNREACHABLE, _I32_CONST, _END = 0x7F, 0x00, 0x41, 0x0B


def module(traps=()):
    """A module whose callbacks do nothing and let everything pass, but for those in `traps`, which hit `unreachable`."""
    assert set(traps) <= set(_CALLBACKS)
    types, bodies, exports = [], [], [_name("memory") + b"\x02\x00"]
    for index, (name, (parameters, returns)) in enumerate(_CALLBACKS.items()):
        types.append(b"\x60" + _vector([bytes([_I32])] * parameters) + _vector([bytes([_I32])] * returns))
        # 1 means "good" where the host is told, and "somewhere in memory" where it asks for room; 0 lets a request go on.
        answer = 0 if name == "proxy_on_request_headers" else 1
        code = bytes([_UNREACHABLE]) if name in traps else bytes([_I32_CONST, answer]) if returns else b""
        bodies.append(_sized(b"\x00" + code + bytes([_END])))
        exports.append(_name(name) + b"\x00" + bytes([index]))
    return b"\0asm\1\0\0\0" + b"".join(
        bytes([section]) + _sized(content) for section, content in (
            (1, _vector(types)), (3, _vector([bytes([i]) for i in range(len(bodies))])), (5, _vector([b"\x00\x10"])),
            (7, _vector(exports)), (10, _vector(bodies))))


def _vector(items):
    return bytes([len(items)]) + b"".join(items)


def _sized(content):
    length, out = len(content), b""
    while length > 0x7F:
        out, length = out + bytes([length & 0x7F | 0x80]), length >> 7
    return out + bytes([length]) + content


def _name(text):
    return bytes([len(text)]) + text.encode()
