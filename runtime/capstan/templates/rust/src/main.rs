use std::io::{self, BufRead, Write};
use std::process::ExitCode;

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<(), Box<dyn std::error::Error>> {
    let mut shout = false;
    for arg in std::env::args().skip(1) {
        match arg.as_str() {
            "--shout" => shout = true,
            _ => return Err("usage: {{name}} [--shout] < NAMES".into()),
        }
    }
    let greeting = std::env::var("GREETING").unwrap_or_else(|_| "Hello".into());
    let mut stdout = io::stdout().lock();
    let mut greeted = 0;
    for line in io::stdin().lock().lines() {
        let line = line?;
        let name = line.trim();
        if name.is_empty() {
            continue;
        }
        let text = format!("{greeting}, {name}!");
        writeln!(stdout, "{}", if shout { text.to_uppercase() } else { text })?;
        greeted += 1;
    }
    if greeted == 0 {
        return Err("no names on stdin".into());
    }
    Ok(())
}
