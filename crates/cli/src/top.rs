//! `vxgate top`: a live view for a terminal.
//!
//! ```text
//!   control socket ──each interval──► Model::take ──┐
//!   keys ───────────────────────────► Model::key  ──┴─► view::draw ─► the terminal
//! ```
//!
//! The model knows no terminal and the view changes nothing; both are tested without either. Here is what touches the world: the
//! terminal, which is given back however this ends, the clock and the sockets.

mod model;
mod view;

use std::io::{self, IsTerminal as _};
use std::time::Duration;

use ratatui::crossterm::event::{self, Event, KeyCode, KeyEventKind, KeyModifiers};
use tokio::runtime::Builder;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::Instant;

use self::model::{Key, Model, Screen};
use crate::config::values::DeviceName;
use crate::control::client::{Client, ClientError};
use crate::control::protocol::FdbEntry;
use crate::control::runtime_dir::RuntimeDir;
use crate::failure::Failure;

/// How often keys are looked for: a person notices no delay below a tenth of a second.
const KEYS: Duration = Duration::from_millis(50);

/// Most entries of the forwarding database that are listed: nobody scrolls further.
const ENTRIES: usize = 4096;

/// Shows the tunnel of this name, or all, until `q` or a signal.
pub(crate) fn run(dev: Option<&DeviceName>) -> Result<(), Failure> {
    if !io::stdout().is_terminal() || !io::stdin().is_terminal() {
        return Err(Failure::failed("top", "standard input and output are no terminal").with_hint(
            "`vxgate show --watch` writes to a file or a pipe, `vxgate show -j` for programs".to_owned(),
        ));
    }
    let mut model = Model::new(dev.cloned());
    // Before the screen is taken: what is wrong from the start is told on a line.
    look(&mut model, Instant::now()).map_err(|error| Failure::client("top", &error))?;
    let start = |error: io::Error| Failure::failed("top", error);
    let runtime = Builder::new_current_thread().enable_all().build().map_err(start)?;
    runtime.block_on(async {
        let mut terminate = signal(SignalKind::terminate()).map_err(start)?;
        let mut hangup = signal(SignalKind::hangup()).map_err(start)?;
        // Gives the terminal back in a panic, too.
        let mut terminal = ratatui::try_init().map_err(start)?;
        let mut next = Instant::now() + model.interval();
        let ended = loop {
            if let Err(error) = terminal.draw(|frame| view::draw(frame, &model)) {
                break Err(start(error));
            }
            tokio::select! {
                () = tokio::time::sleep(KEYS) => {}
                _ = terminate.recv() => break Ok(()),
                _ = hangup.recv() => break Ok(()),
            }
            match keys(&mut model) {
                Ok(true) => {}
                Ok(false) => break Ok(()),
                Err(error) => break Err(start(error)),
            }
            let now = Instant::now();
            if now >= next {
                next = now + model.interval();
                if !model.is_paused()
                    && let Err(error) = look(&mut model, now)
                {
                    // A tunnel that is being restarted comes back.
                    model.lost(error.to_string());
                }
            }
        };
        ratatui::restore();
        ended
    })
}

/// Takes all keys that were pressed; whether to go on.
fn keys(model: &mut Model) -> io::Result<bool> {
    while event::poll(Duration::ZERO)? {
        let Event::Key(key) = event::read()? else { continue };
        if key.kind == KeyEventKind::Release {
            continue;
        }
        let control = key.modifiers.contains(KeyModifiers::CONTROL);
        #[expect(clippy::wildcard_enum_match_arm, reason = "keys that mean nothing here")]
        let pressed = match key.code {
            KeyCode::Char('c') if control => Key::Quit,
            KeyCode::Char('q') => Key::Quit,
            KeyCode::Esc => Key::Back,
            KeyCode::Char('?' | 'h') => Key::Help,
            KeyCode::Char('p' | ' ') => Key::Pause,
            KeyCode::Char('+' | '=') => Key::Faster,
            KeyCode::Char('-') => Key::Slower,
            KeyCode::Char('s') => Key::Sort,
            KeyCode::Char('f') => Key::Fdb,
            KeyCode::Tab | KeyCode::Right => Key::Next,
            KeyCode::BackTab | KeyCode::Left => Key::Previous,
            KeyCode::Up | KeyCode::Char('k') => Key::Up(1),
            KeyCode::Down | KeyCode::Char('j') => Key::Down(1),
            KeyCode::PageUp => Key::Up(10),
            KeyCode::PageDown => Key::Down(10),
            KeyCode::Home => Key::Up(usize::MAX),
            _ => continue,
        };
        if !model.key(pressed) {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Asks the tunnels.
fn look(model: &mut Model, now: Instant) -> Result<(), ClientError> {
    let dir = RuntimeDir::from_environment();
    let clients = match model.wanted() {
        Some(dev) => vec![Client::connect(&dir, dev)?],
        None => Client::connect_all(&dir)?,
    };
    if clients.is_empty() {
        return Err(ClientError::NoTunnel);
    }
    let mut tunnels = Vec::with_capacity(clients.len());
    let mut entries = Vec::new();
    let shown = model.shown_dev();
    for mut client in clients {
        tunnels.push(client.show()?);
        let is_shown = shown.as_deref().is_none_or(|shown| shown == client.dev().as_str());
        if model.screen() == Screen::Fdb && is_shown {
            entries = first_entries(&mut client)?;
        }
    }
    model.take(tunnels, entries, now.into_std());
    Ok(())
}

fn first_entries(client: &mut Client) -> Result<Vec<FdbEntry>, ClientError> {
    let mut entries = Vec::new();
    // That there are enough is what ends it early, and no error.
    let _: io::Result<()> = client.fdb_show(|entry| {
        entries.push(entry);
        if entries.len() < ENTRIES { Ok(()) } else { Err(io::ErrorKind::Interrupted.into()) }
    })?;
    Ok(entries)
}

#[cfg(test)]
mod tests;
