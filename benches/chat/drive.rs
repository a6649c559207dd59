//! Executor of many clients on one thread, each woken as soon as its socket is ready. Owns the waiting, and the time
//! without progress that is a failure; never reads or writes itself.

use std::cell::Cell;

use anyhow::{Result, bail};
use smol::{LocalExecutor, Timer};

use crate::client::STALL;

/// Runs all clients until they are done. Fails with the first of them, or if no message arrives any more.
pub(crate) fn run_all<'a, C>(clients: impl IntoIterator<Item = C>, arrived: &Cell<u64>) -> Result<()>
where
    C: Future<Output = Result<()>> + 'a,
{
    let executor = LocalExecutor::new();
    let tasks: Vec<_> = clients.into_iter().map(|client| executor.spawn(client)).collect();
    let all = async {
        for task in tasks {
            task.await?;
        }
        Ok(())
    };
    smol::block_on(executor.run(smol::future::or(all, watch_for_stall(arrived))))
}

async fn watch_for_stall(arrived: &Cell<u64>) -> Result<()> {
    loop {
        let before = arrived.get();
        Timer::after(STALL).await;
        if arrived.get() == before {
            bail!("no message for {STALL:?}");
        }
    }
}
