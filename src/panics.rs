//! Panics: a defect of ours, after which nothing of the process may go on.
//!
//! A task that is gone would leave a member that looks alive. What was not committed is rolled back by
//! the target, and the next start goes on from the checkpoint.

use std::panic;
use std::process;

use tracing::error;

/// Has any panic, in whichever thread or task, end the process: code 134 (SIGABRT), after a line in
/// the log.
pub fn end_the_process() {
    let print = panic::take_hook();
    panic::set_hook(Box::new(move |panicked| {
        print(panicked);
        let place = panicked.location().map(ToString::to_string);
        error!(place, "a defect in this program: it ends here, and nothing of it is half done");
        process::abort();
    }));
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt as _;
    use std::process::Command;
    use std::time::Duration;

    use tokio_util::sync::CancellationToken;

    use crate::tasks::Tasks;

    /// Whether this process is the one that panics.
    const PANICS: &str = "AFTERIMAGE_TEST_PANICS";

    #[test]
    fn a_panic_in_a_task_ends_the_process() {
        if std::env::var_os(PANICS).is_some() {
            super::end_the_process();
            let runtime = tokio::runtime::Runtime::new().unwrap();
            let ended = runtime.block_on(async {
                let mut tasks = Tasks::default();
                tasks.spawn("planted", async { panic!("planted") });
                tasks.join_all(CancellationToken::new(), Duration::ZERO).await
            });
            panic!("the runtime kept it: {ended:?}");
        }
        let me = std::env::current_exe().unwrap();
        let this = "panics::tests::a_panic_in_a_task_ends_the_process";
        let ended = Command::new(me)
            .args(["--exact", this, "--nocapture"])
            .env(PANICS, "1")
            .output()
            .unwrap();
        let told = String::from_utf8_lossy(&ended.stderr);
        assert_eq!(ended.status.signal(), Some(6), "{told}");
        assert!(told.contains("planted") && !told.contains("kept it"), "{told}");
    }
}
