use shootdown::Fix;
use shootdown_check::*;
fn main() {
    for s in scenarios::ALL {
        let t = std::time::Instant::now();
        let r = graph::check(s, &[], graph::Limits::default());
        println!("{:<30} {:>8} states {:>9} tr {:>5} nodes exhausted {} {:?}", s.name, r.n_states, r.n_transitions, r.n_local_nodes, r.is_exhausted, t.elapsed());
        if r.finding.is_some() { println!("{r}"); }
        for fix in Fix::ALL {
            let t = std::time::Instant::now();
            let r = graph::check(s, &[fix], graph::Limits::default());
            println!("    {:?} {:?} {} states {:?}", fix, r.finding.as_ref().map(|f| (f.trace.n_acts(), f.failure.to_string())), r.n_states, t.elapsed());
            let t = std::time::Instant::now();
            let l = live::search(s, &[fix], 7, 20_000);
            println!("    live: {} runs {} acts {:?} {:?}", l.n_runs, l.n_acts, l.finding.map(|f| f.failure.to_string()), t.elapsed());
        }
    }
}
