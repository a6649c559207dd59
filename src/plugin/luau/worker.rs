//! Thread of one script: answers batches of calls, those that hold up a client first. Owns the VM and decides when it is replaced;
//! never decides what is called.

use std::convert::Infallible;
use std::sync::{Arc, OnceLock};

use async_channel::{Receiver, Sender};
use smol::future;

use super::vm::Vm;
use super::{ScriptError, ScriptSource};
use crate::plugin::{Answer, Call, Failure, Host};

/// Calls of one connection, or consecutive notifications.
pub(super) struct CallBatch {
    /// Calls, in order.
    pub(super) calls: Vec<Call>,
    /// Whether the calls hold up a client.
    pub(super) is_awaited: bool,
    /// Receiver of the answers.
    pub(super) answers: oneshot::Sender<BatchAnswers>,
}

/// Answers, one per call, and the calls themselves: freeing memory costs less in the thread that allocated it.
pub(super) type BatchAnswers = (Vec<Result<Answer, Failure>>, Vec<Call>);

/// State of a script's thread.
pub(super) struct Worker {
    /// Source of the VM.
    pub(super) source: ScriptSource,
    /// Host, set when the plugin starts to run.
    pub(super) host: Arc<OnceLock<Host>>,
    /// Queue of batches that hold up a client.
    pub(super) awaited: Receiver<CallBatch>,
    /// Queue of notifications.
    pub(super) notified: Receiver<CallBatch>,
    /// Closed when the thread ends.
    pub(super) ended: Sender<Infallible>,
}

impl Worker {
    /// Loads the script and reports the result, then answers batches until both queues are closed.
    pub(super) fn run(self, started: oneshot::Sender<Result<(), ScriptError>>) {
        match Vm::new(&self.source, Arc::clone(&self.host)) {
            Ok(vm) => {
                // A loader that does not wait any more has closed the queues.
                let _ = started.send(Ok(()));
                self.serve(vm);
            }
            Err(error) => drop(started.send(Err(error))),
        }
    }

    fn serve(&self, vm: Vm) {
        let mut vm = Ok(vm);
        while let Ok(batch) = future::block_on(future::or(self.awaited.recv(), self.notified.recv())) {
            if let Ok(vm) = &vm {
                vm.begin_batch();
            }
            self.answer(&mut vm, batch);
        }
    }

    fn answer(&self, vm: &mut Result<Vm, Failure>, batch: CallBatch) {
        let CallBatch { calls, is_awaited, answers } = batch;
        let answered = calls.iter().map(|call| {
            if !is_awaited {
                self.answer_awaited(vm);
            }
            self.answer_one(vm, call)
        });
        // The connection may have ended, and dropped the receiver.
        let answered = answered.collect();
        drop(answers.send((answered, calls)));
    }

    /// Answers all batches that hold up a client. Called between two notifications.
    fn answer_awaited(&self, vm: &mut Result<Vm, Failure>) {
        while let Ok(batch) = self.awaited.try_recv() {
            self.answer(vm, batch);
        }
    }

    fn answer_one(&self, vm: &mut Result<Vm, Failure>, call: &Call) -> Result<Answer, Failure> {
        if self.notified.is_closed() {
            return Err(Failure::down("the plugin was stopped"));
        }
        let running = vm.as_ref().map_err(Failure::clone)?;
        let answer = running.call(call);
        match answer {
            Err(failure) if running.is_full() => Err(self.replace_vm(vm, &failure)),
            answer => answer,
        }
    }

    /// Replaces a VM whose memory is filled by the script's variables: every call would fail from here on.
    fn replace_vm(&self, vm: &mut Result<Vm, Failure>, failure: &Failure) -> Failure {
        // Drops the old VM first: two would take twice the memory.
        *vm = Err(failure.clone());
        *vm = Vm::new(&self.source, Arc::clone(&self.host))
            .map_err(|error| Failure::new(format!("the script could not be restarted: {error}")));
        Failure::new(format!("{failure}; its variables filled the memory, so it was restarted without them"))
    }
}

impl Drop for Worker {
    /// Empties the queues, after a panic too: a batch that stayed in a queue would never be answered.
    fn drop(&mut self) {
        for batches in [&self.awaited, &self.notified] {
            batches.close();
            while batches.try_recv().is_ok() {}
        }
        self.ended.close();
    }
}
