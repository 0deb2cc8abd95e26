//! The program `revshift`: the library with a real terminal, clock, network and Ctrl-C.

use std::process::ExitCode;

use revshift::{Connector, Io, Settings};

fn main() -> ExitCode {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let Ok(runtime) = runtime else { return ExitCode::FAILURE };
    let status = runtime.block_on(async {
        let mut io = Io::process();
        revshift::run(
            std::env::args_os(),
            Settings::process(),
            &mut io,
            Connector::tcp(),
            interrupted(),
        )
        .await
    });
    // A read of stdin that nobody waits for any more must not hold the process.
    runtime.shutdown_background();
    status.into()
}

async fn interrupted() {
    if tokio::signal::ctrl_c().await.is_err() {
        // Without a handler the signal ends the process by itself.
        std::future::pending::<()>().await;
    }
}
