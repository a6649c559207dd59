//! The thread of one script: takes batches of calls and answers them, those first that somebody waits for. Owns the VM and when
//! it is made anew; never decides what is called.

use std::convert::Infallible;
use std::sync::{Arc, OnceLock};

use async_channel::{Receiver, Sender};
use smol::future;

use super::vm::Vm;
use super::{ScriptError, ScriptSource};
use crate::plugin::{Answer, Call, Failure, Host};

/// Calls that are answered together.
pub(super) struct CallBatch {
    /// In their order.
    pub(super) calls: Vec<Call>,
    /// Whether somebody waits for the answers.
    pub(super) is_awaited: bool,
    /// Takes what became of them.
    pub(super) answers: oneshot::Sender<BatchAnswers>,
}

/// One answer for each call, and the calls back: memory is given back by the thread that took it, which is less work.
pub(super) type BatchAnswers = (Vec<Result<Answer, Failure>>, Vec<Call>);

/// What a script's thread has in its hands.
pub(super) struct Worker {
    /// What the VM is made of.
    pub(super) source: ScriptSource,
    /// What the script reaches the chat by, once it begins.
    pub(super) host: Arc<OnceLock<Host>>,
    /// Batches that somebody waits for.
    pub(super) awaited: Receiver<CallBatch>,
    /// Batches that tell of something.
    pub(super) told: Receiver<CallBatch>,
    /// Goes with the thread.
    pub(super) ended: Sender<Infallible>,
}

impl Worker {
    /// Says how the script has begun, and serves it until its batches end.
    pub(super) fn run(self, begun: oneshot::Sender<Result<(), ScriptError>>) {
        match Vm::new(&self.source, Arc::clone(&self.host)) {
            Ok(vm) => {
                // Who does not wait for it any more has dropped the batches too.
                let _ = begun.send(Ok(()));
                self.serve(vm);
            }
            Err(error) => drop(begun.send(Err(error))),
        }
    }

    fn serve(&self, vm: Vm) {
        let mut vm = Ok(vm);
        while let Ok(batch) = future::block_on(future::or(self.awaited.recv(), self.told.recv())) {
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
                self.let_past(vm);
            }
            self.answer_one(vm, call)
        });
        // Whose connection has ended does not wait any more.
        let answered = answered.collect();
        drop(answers.send((answered, calls)));
    }

    /// Nobody waits behind what is only told.
    fn let_past(&self, vm: &mut Result<Vm, Failure>) {
        while let Ok(batch) = self.awaited.try_recv() {
            self.answer(vm, batch);
        }
    }

    fn answer_one(&self, vm: &mut Result<Vm, Failure>, call: &Call) -> Result<Answer, Failure> {
        if self.told.is_closed() {
            return Err(Failure::down("the plugin ends"));
        }
        let running = vm.as_ref().map_err(Failure::clone)?;
        let answer = running.call(call);
        match answer {
            Err(failure) if running.is_full() => Err(self.make_anew(vm, &failure)),
            answer => answer,
        }
    }

    /// What a script keeps in its variables fills its memory: every call would fail from here on.
    fn make_anew(&self, vm: &mut Result<Vm, Failure>, failure: &Failure) -> Failure {
        // Two of them would take twice the memory.
        *vm = Err(failure.clone());
        *vm = Vm::new(&self.source, Arc::clone(&self.host))
            .map_err(|error| Failure::new(format!("the script could not be started anew: {error}")));
        Failure::new(format!("{failure}; its variables took nearly all of it, and it was started anew without them"))
    }
}

impl Drop for Worker {
    /// Also when it panics: a queue keeps what is in it for as long as somebody could send, and those who sent it would wait.
    fn drop(&mut self) {
        for batches in [&self.awaited, &self.told] {
            batches.close();
            while batches.try_recv().is_ok() {}
        }
        self.ended.close();
    }
}
