//! Panics: a defect of ours, after which nothing of the process may go on.
//!
//! A task that is gone would leave a member that looks alive. What was not committed is rolled back by
//! the target, and the next start goes on from the checkpoint.

use std::backtrace::{Backtrace, BacktraceStatus};
use std::io::{self, Write as _};
use std::panic;
use std::process;

use tracing::error;

/// Has any panic, in whichever thread or task, end the process: code 134 (SIGABRT), after a line in
/// the log and one on standard error, with the calls that led there where `RUST_BACKTRACE` is set.
pub fn end_the_process() {
    panic::set_hook(Box::new(|panicked| {
        let place = panicked.location().map(ToString::to_string).unwrap_or_default();
        // A text that was put together may have a row's values in it.
        let said = panicked.payload().downcast_ref::<&str>().unwrap_or(&"");
        error!(
            place,
            said, "a defect in this program: it ends here, and nothing of it is half done"
        );
        let calls = Backtrace::capture();
        let calls = Some(calls).filter(|calls| calls.status() == BacktraceStatus::Captured);
        let calls = calls.map(|calls| calls.to_string()).unwrap_or_default();
        // There is nobody to tell where this fails.
        _ = writeln!(io::stderr(), "a defect in this program, at {place}: {said}\n{calls}");
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
                let value = std::hint::black_box("a value");
                tasks.spawn("planted", async move { panic!("planted {value}") });
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
        assert!(told.contains("at src/panics.rs:") && !told.contains("kept it"), "{told}");
        assert!(!told.contains("a value"), "{told}");
    }
}
