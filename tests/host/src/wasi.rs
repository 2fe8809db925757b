//! The few WASI calls that both proxies have and Rust's standard library makes.

use wasmtime::{Caller, Linker};

use crate::guest::{Call, Guest, Stop};
use crate::world::LogLine;

/// WASI's `EBADF` and `EFAULT`.
const BAD_DESCRIPTOR: u32 = 8;
const FAULT: u32 = 21;

fn errno(outcome: Result<(), Stop>) -> u32 {
    match outcome {
        Ok(()) => 0,
        Err(_) => FAULT,
    }
}

pub(crate) fn link(linker: &mut Linker<Guest>) -> wasmtime::Result<()> {
    const WASI: &str = "wasi_snapshot_preview1";
    linker.func_wrap(
        WASI,
        "environ_sizes_get",
        |mut caller: Caller<'_, Guest>, count_at: u32, size_at: u32| {
            let entries = &caller.data().environment;
            let (count, size) = (entries.len(), entries.iter().map(Vec::len).sum::<usize>());
            let mut call = Call(&mut caller);
            let number = |n| u32::try_from(n).unwrap_or(u32::MAX);
            errno(
                call.write_u32(count_at, number(count))
                    .and_then(|()| call.write_u32(size_at, number(size))),
            )
        },
    )?;
    linker.func_wrap(
        WASI,
        "environ_get",
        |mut caller: Caller<'_, Guest>, list_at: u32, bytes_at: u32| {
            let entries = caller.data().environment.clone();
            let mut call = Call(&mut caller);
            let (mut list_at, mut bytes_at) = (list_at, bytes_at);
            let mut write = || {
                for entry in &entries {
                    call.write_u32(list_at, bytes_at)?;
                    call.write(bytes_at, entry)?;
                    list_at += 4;
                    bytes_at += u32::try_from(entry.len()).unwrap_or(u32::MAX);
                }
                Ok(())
            };
            errno(write())
        },
    )?;
    linker.func_wrap(
        WASI,
        "fd_write",
        |mut caller: Caller<'_, Guest>, fd: u32, vectors: u32, count: u32, written_at: u32| {
            if !(1..=2).contains(&fd) {
                return BAD_DESCRIPTOR;
            }
            let worker = caller.data().worker;
            let world = caller.data().world.clone();
            let mut call = Call(&mut caller);
            let mut write = || {
                let mut text = Vec::new();
                for n in 0..count {
                    let vector = call.read(vectors + 8 * n, 8)?;
                    let number = |at: usize| {
                        let bytes = vector.get(at..at + 4).and_then(|b| b.try_into().ok());
                        u32::from_le_bytes(bytes.unwrap_or_default())
                    };
                    text.extend(call.read(number(0), number(4))?);
                }
                call.write_u32(written_at, u32::try_from(text.len()).unwrap_or(u32::MAX))?;
                let text = format!("stderr: {}", String::from_utf8_lossy(&text).trim_end());
                world.borrow_mut().log.push(LogLine {
                    worker,
                    level: 4,
                    text,
                });
                Ok(())
            };
            errno(write())
        },
    )?;
    linker.func_wrap(
        WASI,
        "proc_exit",
        |_: Caller<'_, Guest>, code: u32| -> wasmtime::Result<()> {
            Err(wasmtime::Error::msg(format!("proc_exit({code})")))
        },
    )?;
    linker.func_wrap(
        WASI,
        "random_get",
        |mut caller: Caller<'_, Guest>, at: u32, size: u32| {
            // xorshift64*: the same in every run, another in every worker.
            let mut state = caller.data().random;
            let mut bytes = Vec::new();
            while bytes.len() < size as usize {
                state ^= state >> 12;
                state ^= state << 25;
                state ^= state >> 27;
                bytes.extend(state.wrapping_mul(0x2545_f491_4f6c_dd1d).to_le_bytes());
            }
            caller.data_mut().random = state;
            bytes.truncate(size as usize);
            errno(Call(&mut caller).write(at, &bytes))
        },
    )?;
    Ok(())
}
