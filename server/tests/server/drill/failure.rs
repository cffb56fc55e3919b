//! The failures of the drill, as steps.

use std::thread::sleep;
use std::time::Duration;

use super::nodes::Nodes;

/// Time in which a primary that is gone is replaced, with room for a slow machine.
const FAILOVER: Step = Step::Hold(Duration::from_secs(32));
/// Time in which the lease of a central that is gone ends.
const LEASE: Step = Step::Hold(Duration::from_secs(12));

/// A machine by what it does when the failure begins.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Role {
    Primary,
    Standby,
    OtherStandby,
    Central,
}

use Role::{Central, OtherStandby, Primary, Standby};

/// One step of a failure.
#[derive(Clone, Copy, Debug)]
enum Step {
    /// SIGKILL of all processes.
    Kill(Role),
    /// The machine starts, with the data that it has.
    Start(Role),
    /// SIGSTOP of all processes.
    Freeze(Role),
    /// SIGCONT.
    Thaw(Role),
    /// The machine loses its cable.
    Cut(Role),
    /// The machine gets its cable back.
    Join(Role),
    /// The agencies send no more batches and finish.
    Finish,
    /// Nothing happens for this time.
    Hold(Duration),
}

use Step::{Cut, Finish, Freeze, Join, Kill, Start, Thaw};

/// A failure of one or more machines, which are repaired at its end.
#[derive(Debug)]
pub struct Failure {
    /// Its name, which is also that of its lottery.
    pub name: &'static str,
    steps: &'static [Step],
}

/// All failures.
pub const FAILURES: [Failure; 14] = [
    Failure { name: "none", steps: &[LEASE] },
    Failure { name: "primary-killed", steps: &[Kill(Primary), FAILOVER, Start(Primary)] },
    Failure { name: "primary-frozen", steps: &[Freeze(Primary), FAILOVER, Thaw(Primary)] },
    Failure { name: "primary-cut-off", steps: &[Cut(Primary), FAILOVER, Join(Primary)] },
    Failure {
        name: "primary-lost",
        steps: &[Cut(Primary), Kill(Primary), FAILOVER, Start(Primary)],
    },
    Failure { name: "standby-killed", steps: &[Kill(Standby), LEASE, Start(Standby)] },
    Failure { name: "standby-frozen", steps: &[Freeze(Standby), FAILOVER, Thaw(Standby)] },
    Failure { name: "central-killed", steps: &[Kill(Central), LEASE, Start(Central)] },
    Failure { name: "central-frozen", steps: &[Freeze(Central), LEASE, Thaw(Central)] },
    Failure { name: "central-cut-off", steps: &[Cut(Central), LEASE, Join(Central)] },
    Failure {
        name: "primary-and-central-killed",
        steps: &[Kill(Primary), Kill(Central), FAILOVER, Start(Central), Start(Primary)],
    },
    Failure {
        name: "primary-and-standby-killed",
        steps: &[Kill(Primary), Kill(Standby), LEASE, Start(Standby), FAILOVER, Start(Primary)],
    },
    Failure {
        name: "both-standbys-killed",
        steps: &[Kill(Standby), Kill(OtherStandby), LEASE, Start(Standby), Start(OtherStandby)],
    },
    Failure {
        name: "primary-killed-before-the-draw",
        steps: &[Kill(Primary), Finish, FAILOVER, Start(Primary)],
    },
];

impl Failure {
    /// Performs the steps. `central` is the machine of a central; `finish` makes the agencies
    /// finish.
    pub fn perform(&self, nodes: &Nodes, central: &str, finish: impl Fn()) {
        let [primary, standby, other] = nodes.roles();
        // The worst case: the leader of etcd fails with the primary.
        nodes.run(&["lead", &primary]);
        let machine = |role| match role {
            Primary => &*primary,
            Standby => &*standby,
            OtherStandby => &*other,
            Central => central,
        };
        for step in self.steps {
            match *step {
                Kill(role) => drop(nodes.run(&["kill", machine(role)])),
                Start(Central) => nodes.start_central(central),
                Start(role) => drop(nodes.run(&["start", machine(role)])),
                Freeze(role) => drop(nodes.run(&["freeze", machine(role)])),
                Thaw(role) => drop(nodes.run(&["thaw", machine(role)])),
                Cut(role) => drop(nodes.run(&["cut", machine(role)])),
                Join(role) => drop(nodes.run(&["join", machine(role)])),
                Finish => finish(),
                Step::Hold(time) => sleep(time),
            }
        }
    }
}
