//! Schedule of a run: steps as the seed chooses them, then the end. Owns which action a step stands for.

use super::swarm::Step;
use super::world::World;

/// Steps in a row that do nothing before the run counts as stuck.
const STANDSTILL_TRIES: usize = 200;

impl World {
    /// Takes as many steps as the seed chooses, then ends the run.
    pub(super) fn run(&mut self) {
        let mut tries = 0;
        while self.oracle.step < self.swarm.steps {
            let step = self.swarm.next(&mut self.rng);
            tries = if self.take(step) { 0 } else { tries + 1 };
            // A seed may turn off the steps that would continue the run.
            if tries == STANDSTILL_TRIES {
                self.quiesce();
            }
        }
        self.finish();
    }

    /// Takes a step. Returns false if nothing can take it.
    fn take(&mut self, step: Step) -> bool {
        match step {
            Step::Join => self.join_any(),
            Step::Send => self.send_any(false),
            Step::Flood => self.send_any(true),
            Step::Write => self.write_any(),
            Step::Read => self.read_any(),
            Step::Acknowledge => self.acknowledge_any(),
            Step::Stall => self.stall_any(),
            Step::End => self.end_any(),
            Step::Break => self.break_any(),
            Step::Vanish => self.vanish_any(),
            Step::Finish => self.finish_any(),
            Step::SendQueued => self.send_queued_events(),
            Step::Broker => {
                self.change_headroom();
                self.run_broker()
            }
            Step::Store => self.answer(),
            Step::FailCommits => self.fail_commits(),
            Step::FailReads => self.fail_reads(),
            Step::Remove => self.propose_removal(),
            Step::Post => self.post_any(),
            Step::Observe => self.observe_any(),
            Step::Crash => self.crash(false),
            Step::CutPower => self.crash(true),
            Step::ShutDown => self.shut_down(),
            Step::Quiesce => self.quiesce(),
        }
    }
}
