use super::*;
use proptest::prelude::*;
use s2lab_model::{cell::ResolvedCell, kernel::Traits, scenario::load};

/// Makes a cell from `NAME@KERNEL:CPU:DEVICE,DEVICE`.
fn cell(text: &str) -> PlannedCell {
    let parts: Vec<_> = text.split(':').collect();
    let [key, cpu, devices] = parts[..] else { panic!("{text}") };
    let devices: Vec<_> = devices.split(',').filter(|name| !name.is_empty()).collect();
    let written: Vec<_> =
        devices.iter().map(|name| format!("{name}: {{model: ivshmem-plain, bar: 4K}}")).collect();
    let yaml = format!(
        "scenario: s\nabout: x\nhost: {{cpu: {cpu}, devices: {{{}}}}}\nguests: {{g0: {{vmm: qemu}}}}\n\
         steps: [look: {{name: up}}]\nexpect: [{{at: up, of: ram, stage2: Normal-WB}}]\n",
        written.join(", ")
    );
    let key: Key = key.parse().unwrap();
    PlannedCell {
        kernel: key.kernel().to_owned(),
        about: String::new(),
        repeat: vec![],
        resolved: ResolvedCell::of(&load("s.yaml", &yaml).unwrap(), Traits::Exactly([].into())),
        key,
    }
}

fn queue(cells: &[&str], isolate: bool) -> Queue {
    Queue::new(
        cells.iter().map(|text| PendingAttempt { cell: cell(text), attempt: 1, turns: None }).collect(),
        isolate,
    )
}

/// Works until nothing waits, with so many sessions at a time and all of equal speed. Returns the
/// cells of each boot.
fn boots(queue: &Queue, jobs: usize) -> Vec<Vec<String>> {
    let mut boots: Vec<Vec<String>> = vec![];
    let mut open: Vec<Ticket> = vec![];
    loop {
        while open.len() < jobs
            && let Some(opening) = queue.open(|_| true)
        {
            assert_eq!(opening.ticket, boots.len());
            boots.push(vec![opening.first.cell.key.to_string()]);
            open.push(opening.ticket);
        }
        if open.is_empty() {
            return boots;
        }
        open.retain(|ticket| {
            let goes_on = queue.reserve(*ticket);
            assert!(queue.take_present(*ticket).is_some());
            if goes_on {
                let next = queue.begin_reserved(*ticket).unwrap();
                boots[*ticket].push(next.cell.key.to_string());
            } else {
                queue.close(*ticket);
            }
            goes_on
        });
    }
}

const SIX: [&str; 6] = [
    "ram@a:neoverse-v1:",
    "ram@b:neoverse-v1:",
    "bar@a:neoverse-v1:nic",
    "bar@b:neoverse-v1:nic",
    "fwb@a:neoverse-n1:nic",
    "fwb@b:neoverse-n1:nic",
];

#[test]
fn the_first_cell_begins_whose_kernel_is_there() {
    let queue = queue(&SIX, false);
    let of_b = |cell: &PlannedCell| cell.kernel == "b";
    assert!(queue.open(|_| false).is_none() && queue.awaits(|_| false));
    let first = queue.open(of_b).unwrap();
    assert_eq!(first.first.cell.key, "ram@b");
    // Its host serves the next one, so another is booted for the third.
    assert_eq!(queue.open(of_b).unwrap().first.cell.key, "fwb@b");
    assert_eq!(queue.open(of_b).unwrap().first.cell.key, "bar@b", "better than a core that idles");
    assert!(queue.open(of_b).is_none() && queue.awaits(of_b));
    assert!(!queue.awaits(|_| true), "nothing waits for its kernel");
    // The order of the others is that of the plan.
    assert_eq!(queue.open(|_| true).unwrap().first.cell.key, "ram@a");
}

#[test]
fn cells_of_one_host_share_a_boot() {
    let one = boots(&queue(&SIX, false), 1);
    assert_eq!(one, [vec!["ram@a", "bar@a"], vec!["ram@b", "bar@b"], vec!["fwb@a"], vec!["fwb@b"]]);
    let mut two = boots(&queue(&SIX, false), 2);
    two.sort();
    assert_eq!(two, [vec!["fwb@a"], vec!["fwb@b"], vec!["ram@a", "bar@a"], vec!["ram@b", "bar@b"]]);
    assert_eq!(boots(&queue(&SIX, true), 2).len(), 6, "each in a host of its own");
}

#[test]
fn a_core_that_would_idle_boots_a_second_host() {
    let same: Vec<_> = (0..4).map(|n| format!("c{n}@k:max:")).collect();
    let same: Vec<_> = same.iter().map(String::as_str).collect();
    assert_eq!(boots(&queue(&same, false), 1).len(), 1);
    let two = boots(&queue(&same, false), 2);
    assert_eq!(two, [vec!["c0@k", "c1@k"], vec!["c3@k", "c2@k"]]);
}

#[test]
fn an_attempt_boots_anew() {
    let queue = queue(&["a@k:max:", "b@k:max:"], false);
    let first = queue.open(|_| true).unwrap();
    queue.push_first(PendingAttempt { cell: first.first.cell.clone(), attempt: 2, turns: None });
    assert!(queue.reserve(first.ticket));
    assert!(queue.take_present(first.ticket).is_some());
    assert_eq!(queue.begin_reserved(first.ticket).unwrap().cell.key, "b@k");
    assert!(!queue.reserve(first.ticket), "it has had the other cell");
    queue.close(first.ticket);
    let again = queue.open(|_| true).unwrap();
    assert_eq!((again.first.cell.key.as_str(), again.first.attempt), ("a@k", 2));
}

#[test]
fn what_was_set_aside_waits_again_after_a_failure() {
    let queue = queue(&["a@k:max:", "b@k:max:", "c@k:max:"], false);
    let first = queue.open(|_| true).unwrap();
    assert!(queue.reserve(first.ticket));
    queue.close(first.ticket);
    assert!(queue.begin_reserved(first.ticket).is_none() && queue.take_present(first.ticket).is_none());
    assert_eq!(queue.open(|_| true).unwrap().first.cell.key, "b@k");
    assert_eq!(queue.take_unbegun().len(), 1);
    assert!(queue.open(|_| true).is_none());
}

proptest! {
    /// Whatever the cells, each is run once, in a host that has what it needs.
    #[test]
    fn each_cell_is_served_once(
        hosts in proptest::collection::vec(("[kl]", prop_oneof!["max", "neoverse-v1"], prop_oneof!["", "x", "y", "x,y"]), 1..9),
        jobs in 1usize..4,
        isolate: bool,
    ) {
        let texts: Vec<_> = hosts
            .iter()
            .enumerate()
            .map(|(n, (kernel, cpu, devices))| format!("c{n}@{kernel}:{cpu}:{devices}"))
            .collect();
        let texts: Vec<_> = texts.iter().map(String::as_str).collect();
        let boots = boots(&queue(&texts, isolate), jobs);
        let mut served: Vec<_> = boots.iter().flatten().cloned().collect();
        served.sort();
        let keys: Vec<_> = texts.iter().map(|text| text.split(':').next().unwrap().to_owned()).collect();
        prop_assert_eq!(&served, &keys);
        let machine = |key: &String| {
            let text = texts.iter().find(|text| text.starts_with(&format!("{key}:"))).unwrap();
            let parts: Vec<_> = text.split([':', '@']).collect();
            (parts[1].to_owned(), parts[2].to_owned())
        };
        for boot in &boots {
            prop_assert!(boot.iter().all(|key| machine(key) == machine(&boot[0])), "{:?}", boot);
            prop_assert!(!isolate || boot.len() == 1);
        }
        if jobs == 1 && !isolate {
            let machines: BTreeSet<_> = keys.iter().map(machine).collect();
            prop_assert_eq!(boots.len(), machines.len());
        }
    }
}
