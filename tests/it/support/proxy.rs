//! A proxy between a member and its target, which can hold the member at a chosen moment, cut it
//! off, and break the promises of its SQL on the wire.

use std::io::Write;
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use regex::Regex;
use url::Url;

use crate::support::moments::{Moment, Statement};
use crate::support::wire::{Message, Statements, read_startup, without_options};
use crate::support::{LATER, Stack, World, until};

/// How the proxy breaks what the member says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sabotage {
    /// The checkpoint moves whoever holds the claim: the token's condition is always true.
    NoToken,
    /// The rows are committed apart from the checkpoint, right before it.
    RowsCommittedApart,
    /// The server forgets all prepared statements before each transaction after the first with a step,
    /// as a pooler that resets its connections does.
    StatementsForgotten,
    /// What a session asks for at its start is left out, as a pooler may.
    OptionsDropped,
}

/// Messages of a COPY that go by before a member is held in one: the server writes no row before it has
/// a thousand, and a message has fewer.
const COPIED: usize = 3;

/// A proxy in front of the target's server.
#[derive(Debug)]
pub(crate) struct Proxy {
    shared: Arc<Shared>,
    address: SocketAddr,
}

#[derive(Debug)]
struct Shared {
    schema: String,
    server: String,
    sabotage: Option<Sabotage>,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    /// Where the next member that comes by is held.
    wanted: Option<Moment>,
    held: Held,
    /// Transactions with a step that were answered with COMMIT.
    commits: u64,
    /// How often the sabotage was done.
    sabotaged: u64,
    closed: bool,
    /// Nobody comes through.
    is_shut: bool,
    streams: Vec<TcpStream>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Held {
    #[default]
    Nobody,
    Somebody,
    /// The one who was held goes no further.
    Cut,
}

impl Proxy {
    /// Starts a proxy for a world's target.
    pub(crate) fn start(world: &World, sabotage: Option<Sabotage>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let target = Url::parse(&Stack::get().target).unwrap();
        let shared = Arc::new(Shared {
            schema: world.name.clone(),
            server: format!("{}:{}", target.host().unwrap(), target.port().unwrap_or(5432)),
            sabotage,
            state: Mutex::default(),
            changed: Condvar::new(),
        });
        let accepting = Arc::clone(&shared);
        std::thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                if accepting.lock().closed {
                    break;
                }
                if accepting.lock().is_shut {
                    continue;
                }
                let shared = Arc::clone(&accepting);
                std::thread::spawn(move || serve(&shared, client));
            }
        });
        Self { shared, address }
    }

    /// Returns where members connect.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Holds the next member that comes to this moment.
    pub(crate) fn hold_at(&self, moment: Moment) {
        let mut state = self.shared.lock();
        state.wanted = Some(moment);
        state.held = Held::Nobody;
    }

    /// Waits until a member is held.
    pub(crate) fn until_held(&self) {
        until(LATER, "a member comes to its moment", || self.shared.lock().held == Held::Somebody);
    }

    /// Lets the one who is held go on.
    pub(crate) fn release(&self) {
        self.shared.settle(Held::Nobody);
    }

    /// Closes all connections; what was held back is never sent.
    pub(crate) fn cut(&self) {
        self.shared.settle(Held::Cut);
        for stream in self.shared.lock().streams.drain(..) {
            _ = stream.shutdown(Shutdown::Both);
        }
    }

    /// Closes all connections, and lets none come through, as a server that is away.
    pub(crate) fn shut(&self) {
        self.shared.lock().is_shut = true;
        self.cut();
    }

    /// Lets connections come through again.
    pub(crate) fn open(&self) {
        self.shared.lock().is_shut = false;
        self.release();
    }

    /// Returns how many transactions with a step have committed.
    pub(crate) fn commits(&self) -> u64 {
        self.shared.lock().commits
    }

    /// Returns how often the sabotage was done.
    pub(crate) fn sabotaged(&self) -> u64 {
        self.shared.lock().sabotaged
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.shared.lock().closed = true;
        self.cut();
        // Wakes the thread that accepts.
        _ = TcpStream::connect_timeout(&self.address, Duration::from_secs(1));
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn settle(&self, held: Held) {
        let mut state = self.lock();
        state.held = held;
        state.wanted = None;
        self.changed.notify_all();
    }

    /// Takes the moment if it is wanted; the caller is then the one who is held.
    fn take(&self, is_now: impl FnOnce(Moment) -> bool) -> Option<Moment> {
        let mut state = self.lock();
        let moment = state.wanted.filter(|moment| is_now(*moment))?;
        state.wanted = None;
        state.held = Held::Somebody;
        Some(moment)
    }

    /// Waits while held; returns whether to go on.
    fn wait(&self) -> bool {
        let state = self.lock();
        let state = self
            .changed
            .wait_while(state, |state| state.held == Held::Somebody && !state.closed)
            .unwrap_or_else(PoisonError::into_inner);
        state.held != Held::Cut && !state.closed
    }
}

/// What the two directions of a connection share.
#[derive(Debug)]
struct Link {
    shared: Arc<Shared>,
    flow: Mutex<Flow>,
    flowed: Condvar,
}

#[derive(Debug, Default)]
struct Flow {
    /// The checkpoint has moved in the transaction that is open.
    stepped: bool,
    /// An answer to us, not to the member, is on its way.
    swallow: bool,
    /// The member's next message waits.
    hold_next: bool,
    ended: bool,
}

impl Link {
    fn flow(&self) -> MutexGuard<'_, Flow> {
        self.flow.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn serve(shared: &Arc<Shared>, mut client: TcpStream) {
    let Ok(mut server) = TcpStream::connect(&shared.server) else { return };
    let Some(mut startup) = read_startup(&mut client) else { return };
    if shared.sabotage == Some(Sabotage::OptionsDropped) {
        without_options(&mut startup);
    }
    if server.write_all(&startup).is_err() {
        return;
    }
    for stream in [&client, &server] {
        _ = stream.set_nodelay(true);
        shared.lock().streams.push(stream.try_clone().unwrap());
    }
    let link = Arc::new(Link {
        shared: Arc::clone(shared),
        flow: Mutex::default(),
        flowed: Condvar::new(),
    });
    let answers = {
        let (link, server, client) =
            (Arc::clone(&link), server.try_clone().unwrap(), client.try_clone().unwrap());
        std::thread::spawn(move || {
            _ = carry_answers(&link, &server, &client);
            link.flow().ended = true;
            link.flowed.notify_all();
            _ = client.shutdown(Shutdown::Both);
        })
    };
    _ = carry_requests(&link, &client, &server);
    _ = server.shutdown(Shutdown::Both);
    _ = client.shutdown(Shutdown::Both);
    _ = answers.join();
}

/// Member to server, until one of them is gone.
fn carry_requests(link: &Link, mut client: &TcpStream, mut server: &TcpStream) -> Option<()> {
    let mut statements = Statements::default();
    let mut copied = 0;
    loop {
        let mut message = Message::read(&mut client)?;
        let is_copied = message.kind == b'd';
        if link.shared.sabotage == Some(Sabotage::NoToken) {
            weaken(&link.shared, &mut message);
        }
        let sql = statements.sql(&message).unwrap_or_default();
        let statement = Statement::of(sql.trim_start(), &link.shared.schema);
        if link.flow().hold_next && !link.shared.wait() {
            return None;
        }
        {
            let mut flow = link.flow();
            flow.hold_next = false;
            flow.stepped |= statement == Statement::Step;
        }
        match (link.shared.sabotage, statement) {
            (Some(Sabotage::RowsCommittedApart), Statement::Step) => {
                say(link, server, "COMMIT; BEGIN")?;
                link.shared.lock().sabotaged += 1;
            }
            (Some(Sabotage::StatementsForgotten), Statement::Begin)
                if link.shared.lock().commits > 0 =>
            {
                say(link, server, "DEALLOCATE ALL")?;
                link.shared.lock().sabotaged += 1;
            }
            _ => {}
        }
        let moment = link.shared.take(|moment| {
            let is_mid_copy = moment == Moment::MidCopy && is_copied && copied == COPIED;
            is_mid_copy || statement.begins(moment)
        });
        copied = if is_copied { copied + 1 } else { 0 };
        if moment == Some(Moment::Commit) {
            let (step, commit) = sql.split_once(";\n").expect("COMMIT comes with the step");
            say(link, server, step)?;
            message = Message::query(commit);
        }
        let sent = match moment {
            Some(Moment::MidStep | Moment::MidCopy) => message.bytes.len() / 2,
            _ => 0,
        };
        let (first, rest) = message.bytes.split_at(sent);
        server.write_all(first).ok()?;
        if moment.is_some() && !link.shared.wait() {
            return None;
        }
        server.write_all(rest).ok()?;
    }
}

/// Server to member, until one of them is gone.
fn carry_answers(link: &Link, mut server: &TcpStream, mut client: &TcpStream) -> Option<()> {
    // Authentication and all that follows it are typed messages too.
    let mut committed = false;
    loop {
        let message = Message::read(&mut server)?;
        if link.flow().swallow {
            // What we have said is wrong: nobody may go on from there.
            if message.kind == b'E' {
                return None;
            }
            if message.ready_state().is_some() {
                link.flow().swallow = false;
                link.flowed.notify_all();
            }
            continue;
        }
        if message.is_committed() && link.flow().stepped {
            committed = true;
            if link.shared.take(|moment| moment == Moment::CommitSent).is_some()
                && !link.shared.wait()
            {
                return None;
            }
        }
        if message.ready_state() == Some(b'I') {
            link.flow().stepped = false;
            if std::mem::take(&mut committed) {
                link.shared.lock().commits += 1;
                // Before the member can say anything else.
                if link.shared.take(|moment| moment == Moment::Mirror).is_some() {
                    link.flow().hold_next = true;
                }
            }
        }
        client.write_all(&message.bytes).ok()?;
    }
}

/// Makes the condition on the claim always true.
fn weaken(shared: &Shared, message: &mut Message) {
    if !matches!(message.kind, b'P' | b'Q') {
        return;
    }
    let text = String::from_utf8_lossy(&message.bytes).into_owned();
    if !text.contains("SET next_offset") {
        return;
    }
    let condition =
        Regex::new(r"(\w+\.)?epoch = [\w.$]+\s+AND (\w+\.)?claim_token = [\w.$]+").unwrap();
    let found = condition.find(&text).expect("the step is conditional on epoch and token");
    message.replace(found.as_str(), "TRUE");
    shared.lock().sabotaged += 1;
}

/// Says something in the member's place.
fn say(link: &Link, mut server: &TcpStream, sql: &str) -> Option<()> {
    link.flow().swallow = true;
    server.write_all(&Message::query(sql).bytes).ok()?;
    let flow = link
        .flowed
        .wait_while(link.flow(), |flow| flow.swallow && !flow.ended)
        .unwrap_or_else(PoisonError::into_inner);
    (!flow.ended).then_some(())
}
