//! `headtrail run`: the daemon. Wiring, and the loop of the capture's thread.
//!
//! Threads: this one reads the rings, assembles, redacts and encodes; the [`crate::keeper`] packs and writes; the web
//! thread answers. They share what is put up once a second ([`Board`], [`keeper::Shared`]) and two channels of blocks, so
//! that no event costs a lock. What cannot be recorded in time stays in the rings, and what no longer fits there is
//! counted by the kernel's side and told by a loss record.
//!
//! Order of the start: what needs root comes first, then privileges are given up, and what the daemon makes from there on
//! belongs to its own user.

use std::borrow::Cow;
use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Sender, channel};
use std::time::{Duration, Instant, SystemTime};

use headtrail_assemble::{Assembler, Limits};
use headtrail_capture::filter::Filter;
use headtrail_capture::{Capture, Options};
use headtrail_journal::block::BlockBuilder;
use headtrail_journal::cursor::Position;
use headtrail_journal::journal::{self, Journal};
use headtrail_journal::reader::{Next, Reader};
use headtrail_journal::retention::Retention;
use headtrail_journal::storage::{Disk, Storage};
use headtrail_journal::tree::{Checkpoint as Note, SignedNote, VerifierKey};
use headtrail_journal::writer;
use headtrail_record::event::Event;
use headtrail_record::proto;
use headtrail_record::record::{Checkpoint, Lifecycle, Record};
use headtrail_record::redact::{Policy, Redactor};
use headtrail_record::volume::{SampleKey, Volume};
use headtrail_ship::gate::Gate;
use sha2::{Digest, Sha256};

use crate::cli;
use crate::config::{self, Config};
use crate::exit::Failure;
use crate::export::{self, Exporter};
use crate::keeper::{self, Keeper, Order};
use crate::key;
use crate::losses::Told;
use crate::memory::{Ceiling, Held, Level, Resident};
use crate::names::Names;
use crate::notify::Notifier;
use crate::processes::ProcessTable;
use crate::recorder::Recorder;
use crate::sandbox;
use crate::ships::{Prepared, Ships};
use crate::signals::Signals;
use crate::snapshot::{self, Board, Snapshot};
use crate::summary::{Counts, Lost, protocols};
use crate::watch::counts;
use crate::web;

/// Blocks that are filled, packed or on the way, each of a mebibyte and some.
const BLOCKS: usize = 6;
/// Ring bytes that are read before they are given back.
const BATCH_BYTES: usize = 256 << 10;
/// Longest sleep without traffic.
const SLEEP_MAX: Duration = Duration::from_millis(500);
/// Sleep while no block is empty.
const FULL_SLEEP: Duration = Duration::from_millis(2);
/// Between two looks at time-outs.
const TICK: Duration = Duration::from_millis(100);
/// Between two snapshots and looks at losses.
const SECOND: Duration = Duration::from_secs(1);
/// Between two looks at the age of the fingerprint key.
const KEY_INTERVAL: Duration = Duration::from_secs(600);

/// What the command line and the config say together.
struct Plan {
    config: Config,
    config_path: Option<PathBuf>,
    data_dir: PathBuf,
    filter_text: String,
}

impl Plan {
    fn new(options: &cli::Run) -> Result<Self, Failure> {
        let config = Config::load_or_default(options.config.as_deref())?;
        let data_dir = options.data_dir.clone().unwrap_or_else(|| config.run.data_dir.clone());
        let given = options.filter.join(" ");
        let filter_text = if given.trim().is_empty() {
            config.capture.filter.as_ref().map(|filter| filter.text().to_owned()).unwrap_or_default()
        } else {
            given
        };
        Ok(Self { config, config_path: options.config.clone(), data_dir, filter_text })
    }

    fn filter(&self) -> Result<Option<Filter>, Failure> {
        let text = self.filter_text.trim();
        Ok(if text.is_empty() { None } else { Some(Filter::parse(text)?) })
    }

    /// Where the config lies: editors put another file in its place, so the folder has to stay readable.
    fn config_folder(&self) -> Option<PathBuf> {
        let path = self.config_path.as_deref().unwrap_or(Path::new(config::DEFAULT_PATH));
        Some(path.canonicalize().ok()?.parent()?.to_owned())
    }

    /// The destinations, with their secrets: these are read here, as whoever started the daemon.
    fn ships(&self) -> Result<Vec<headtrail_ship::settings::Settings>, Failure> {
        self.config.ship.iter().map(destination).collect()
    }

    fn keeper(&self) -> keeper::Settings {
        keeper_settings(&self.config)
    }
}

fn keeper_settings(config: &Config) -> keeper::Settings {
    let age = config.retention.age.map_or(u64::MAX, |age| u64::try_from(age.as_nanos()).unwrap_or(u64::MAX));
    keeper::Settings {
        sync: config.journal.sync,
        retention: Retention { bytes_max: config.retention.size_bytes, age_ns_max: age },
    }
}

/// A destination with its secrets, which this process must be able to read.
pub(crate) fn destination(ship: &config::Ship) -> Result<headtrail_ship::settings::Settings, Failure> {
    let (settings, warnings) = ship.settings().map_err(Failure::usage)?;
    for warning in warnings {
        eprintln!("headtrail: {warning}");
    }
    Ok(settings)
}

fn policy(config: &Config) -> Result<Policy, Failure> {
    Policy::with(&config.privacy).map_err(Failure::usage)
}

/// The config in force, by what it says and not by how it is written.
fn hash(config: &Config) -> [u8; 32] {
    Sha256::digest(config.shown()).into()
}

/// Runs until a signal comes.
pub(crate) fn run(options: &cli::Run) -> Result<(), Failure> {
    let plan = Plan::new(options)?;
    let filter = plan.filter()?;
    let policy = policy(&plan.config)?;
    let mut signals = Signals::install_with_reload().map_err(Failure::refused)?;
    make_data_dir(&plan.data_dir)?;

    // What needs privileges.
    let ring_bytes = Some(plan.config.capture.ring_bytes);
    let mut capture = Capture::start(Options { filter, ring_bytes })?;
    let names =
        Names::start().map_err(|error| Failure::refused(format_args!("helper for names: {error}")))?;
    let resident = Resident::open().map_err(|error| Failure::refused(format_args!("/proc: {error}")))?;
    let mut notifier = Notifier::from_environment();
    let address = options.web.or(plan.config.listen);
    let http = address.map(web::bind).transpose()?;
    let bound = http.as_ref().and_then(|listener| listener.local_addr().ok());
    let fingerprint_key = key::load_or_make(&plan.data_dir).map_err(Failure::refused)?;
    let user = options.user.as_deref().or(plan.config.user_asked_for());
    let export = plan.config.journal.export.as_ref().map(|to| Exporter::open(to, user)).transpose()?;
    let exported = export.as_ref().map(Exporter::shared);
    let run = key::run_id().map_err(Failure::refused)?;
    let sample_key = SampleKey(key::random_bytes().map_err(Failure::refused)?);
    let ships = Prepared::new(plan.ships()?)?;
    let read: Vec<PathBuf> = plan.config_folder().into_iter().collect();
    let report = sandbox::drop_privileges(&sandbox::Plan {
        user,
        data_dir: &plan.data_dir,
        read: &read,
        write: &ships.folders(),
        connect_ports: &ships.ports(),
        works: &|| capture.exercise(),
    })?;

    // What belongs to the user of the daemon, and threads.
    let storage: Arc<dyn Storage> = Arc::new(Disk::new(&plan.data_dir));
    let random = || key::random_bytes::<32>().map_err(Failure::refused);
    let (seed, [a, b, c, d, e, f, g, h, ..]) = (random()?, random()?);
    let mut journal_options = journal::Options::new(&host(), [a, b, c, d, e, f, g, h], seed);
    let ceiling = Ceiling::new(plan.config.memory_bytes_max);
    journal_options.backlog_bytes_max = ceiling.allotment().blocks_bytes_max;
    journal_options.segment_bytes_max = plan.config.journal.segment_bytes;
    journal_options.checkpoint_interval_ns =
        u64::try_from(plan.config.journal.checkpoint.as_nanos()).unwrap_or(u64::MAX);
    let (journal, opened) =
        Journal::open(storage.clone(), journal_options, keeper::now_ns()).map_err(journal_failure)?;
    let verifier = journal.verifier().clone();
    let status = web::bind_status(&plan.data_dir)?;
    let board = Board::default();
    let _server = web::start(http, Some(status), &board).map_err(Failure::refused)?;
    let (orders, to_keeper) = channel();
    let (to_recorder, empty) = channel();
    for _ in 0..BLOCKS {
        let _ = to_recorder.send(BlockBuilder::new().map_err(journal_failure)?);
    }
    let shared = keeper::Shared::default();
    let gate = Gate::default();
    let ships = ships.start(&plan.data_dir, &storage, &gate)?;
    let readers = keeper::Readers { gate, stats: ships.floors() };
    let keeper = Keeper::new(
        storage.clone(),
        journal,
        plan.keeper(),
        shared.clone(),
        readers,
        keeper::Recorder { orders: to_keeper, empty: to_recorder },
        export,
    );
    let thread = std::thread::Builder::new()
        .name("headtrail-journal".to_owned())
        .spawn(move || keeper.run())
        .map_err(Failure::refused)?;

    let volume = Volume::new(plan.config.volume.clone(), SampleKey(sample_key.0)).map_err(Failure::usage)?;
    let redactor = Redactor::new(fingerprint_key, policy);
    let block = BlockBuilder::new().map_err(journal_failure)?;
    let recorder =
        Recorder::new(run, redactor, volume, ProcessTable::with(names), block, orders.clone(), empty);
    let started_ns = capture.now_ns();
    let held_bytes_max = ceiling.allotment().assembler_bytes_max;
    let mut daemon = Daemon {
        assembler: Assembler::new(Limits { held_bytes_max, ..Limits::default() }),
        ceiling,
        resident,
        recorder,
        told: Told::since(started_ns),
        board,
        shared,
        exported,
        orders,
        ships: Some(ships),
        report,
        started_ns,
        plan,
        sample_key,
        verifier,
        signed_blocks: 0,
        looked: Instant::now(),
        key_looked: Instant::now(),
    };
    daemon.began(&opened, before(storage, opened.synced.blocks), &capture);
    daemon.board.put(daemon.snapshot(&capture, started_ns));
    notifier.ready("recording");
    eprintln!(
        "headtrail: recording {} into {} (Ctrl-C ends)",
        if daemon.plan.filter_text.is_empty() { "all connections" } else { &daemon.plan.filter_text },
        daemon.plan.data_dir.display()
    );
    if let Some(address) = bound {
        eprintln!("headtrail: metrics at http://{address}/metrics");
    }

    // Intervals are not taken from the wall clock, which may be set back.
    let mut ticked = Instant::now();
    while !signals.stop() && !daemon.recorder.is_alone() {
        let had = daemon.may_read() && daemon.step(&mut capture);
        let now_ns = capture.now_ns();
        if ticked.elapsed() >= TICK {
            ticked = Instant::now();
            daemon.tick(&capture, now_ns);
            notifier.alive(Instant::now());
        }
        daemon.recorder.hand_over_if_older(daemon.plan.config.journal.block);
        if signals.take_report() {
            eprint!("{}", counts(&capture, &daemon.assembler).report());
        }
        if signals.take_reload() {
            notifier.reloading();
            daemon.reload(now_ns);
            notifier.ready("recording");
        }
        if !daemon.may_read() {
            std::thread::sleep(FULL_SLEEP);
        } else if !had || capture.backlog_bytes() < BATCH_BYTES as u64 / 4 {
            let most = notifier.watchdog_interval().map_or(SLEEP_MAX, |interval| interval.min(SLEEP_MAX));
            let most =
                if daemon.recorder.has_waiting() { most.min(daemon.plan.config.journal.block) } else { most };
            capture.wait(signals.fd(), most);
        }
    }

    notifier.stopping();
    daemon.end(&mut capture);
    let end = thread.join();
    if let Some(ships) = daemon.ships.take() {
        ships.stop();
    }
    eprint!("{}", counts(&capture, &daemon.assembler).report());
    end.map_err(|_| Failure::no("the journal's thread has failed"))
}

/// The capture's thread.
struct Daemon {
    assembler: Assembler,
    ceiling: Ceiling,
    resident: Resident,
    recorder: Recorder,
    told: Told,
    board: Board,
    shared: keeper::Shared,
    /// How the export of checkpoints goes, if there is one.
    exported: Option<export::Shared>,
    orders: Sender<Order>,
    /// Until the end.
    ships: Option<Ships>,
    report: sandbox::Report,
    started_ns: u64,
    plan: Plan,
    sample_key: SampleKey,
    verifier: VerifierKey,
    /// Of the checkpoint that was recorded last.
    signed_blocks: u64,
    /// When counts were looked at last.
    looked: Instant,
    key_looked: Instant,
}

impl Daemon {
    /// One batch. Returns whether there was anything.
    fn step(&mut self, capture: &mut Capture) -> bool {
        let Self { assembler, recorder, .. } = self;
        let had = capture.read(BATCH_BYTES, |event| {
            if let Event::Peer { process, .. } = event {
                recorder.learn(process);
            }
            assembler.event(event, &mut |raw| recorder.take(raw));
        });
        for resync in assembler.take_resyncs() {
            capture.resync(&resync);
        }
        capture.release();
        had
    }

    /// Ten times a second.
    fn tick(&mut self, capture: &Capture, now_ns: u64) {
        self.look_at_memory();
        let Self { assembler, recorder, .. } = self;
        assembler.tick(now_ns, &mut |raw| recorder.take(raw));
        if self.looked.elapsed() >= SECOND {
            self.looked = Instant::now();
            // What the journal refuses may be the record that tells of it; so all is told when it writes again.
            if self.shared.get().trouble.is_none() {
                self.tell_losses(capture, now_ns);
            }
            self.board.put(self.snapshot(capture, now_ns));
            self.rotate_key(now_ns);
            self.record_checkpoint(now_ns);
            self.tell_lags(now_ns);
        }
    }

    /// A reader that is far behind is news, and so is that it is not any more.
    fn tell_lags(&mut self, now_ns: u64) {
        let changes = self.ships.as_mut().map(|ships| ships.changes(now_ns)).unwrap_or_default();
        for change in changes {
            self.lifecycle(change.event, now_ns, |record| {
                let mut detail = |name: &'static str, value: String| {
                    record.details.push((Cow::Borrowed(name), Cow::Owned(value)));
                };
                detail("reader", change.reader);
                detail("records", change.lag.records.to_string());
                detail("seconds", change.lag.time.as_secs().to_string());
                change.trouble.into_iter().for_each(|trouble| detail("trouble", trouble));
            });
        }
    }

    /// What the journal signed goes into the journal, too.
    fn record_checkpoint(&mut self, now_ns: u64) {
        let state = self.shared.get();
        let Some(bytes) = state.checkpoint.filter(|_| state.signed_blocks != self.signed_blocks) else {
            return;
        };
        self.signed_blocks = state.signed_blocks;
        let Ok(note) = Note::open(&bytes, &self.verifier) else { return };
        let signature = SignedNote::parse(&bytes).ok().and_then(|signed| signed.signature_of(&note.origin));
        self.recorder.checkpoint(Checkpoint {
            time_ns: now_ns,
            origin: Cow::Owned(note.origin),
            size: note.size,
            root: note.root.0,
            signature: signature.unwrap_or_default(),
        });
    }

    /// Gives up what there is no memory for.
    fn look_at_memory(&mut self) {
        let Self { assembler, recorder, ceiling, resident, .. } = self;
        let held = Held { resident: resident.bytes().unwrap_or(0), assembler: assembler.held_bytes() as u64 };
        let before = ceiling.level();
        let level = ceiling.look(Instant::now(), held);
        if level != before {
            eprintln!("headtrail: memory: {} ({} MiB resident)", level.name(), held.resident >> 20);
        }
        recorder.set_no_memory(level >= Level::Records);
        assembler.set_held_bytes_max(ceiling.assembler_bytes_max(), &mut |raw| recorder.take(raw));
    }

    /// Whether the rings may be read.
    fn may_read(&self) -> bool {
        self.recorder.has_room() && self.ceiling.level() < Level::Rings
    }

    fn tell_losses(&mut self, capture: &Capture, now_ns: u64) {
        for (loss, _) in self.told.tell(&self.lost(&counts(capture, &self.assembler)), now_ns) {
            self.recorder.loss(&loss);
        }
    }

    fn lifecycle(&mut self, event: &'static str, now_ns: u64, more: impl FnOnce(&mut Lifecycle)) {
        let filter = Some(self.plan.filter_text.clone()).filter(|text| !text.is_empty());
        let mut record = Lifecycle {
            time_ns: now_ns,
            event: Cow::Borrowed(event),
            version: Cow::Borrowed(env!("CARGO_PKG_VERSION")),
            filter: filter.map(Cow::Owned),
            config_hash: Some(hash(&self.plan.config)),
            redaction: Some(Cow::Owned(self.recorder.redactor.policy().describe())),
            ..Lifecycle::default()
        };
        more(&mut record);
        self.recorder.lifecycle(&record);
    }

    /// The first record: what is recorded, and since when nothing was.
    fn began(&mut self, opened: &writer::Opened, before: Option<Before>, capture: &Capture) {
        let now_ns = capture.now_ns();
        let off_ns = before.as_ref().map(|before| (before.last_ns, now_ns));
        let loud: Vec<String> = self.recorder.redactor.policy().loud().to_vec();
        let off: Vec<(&'static str, String)> = capture
            .features()
            .iter()
            .filter_map(|feature| Some((feature.name, feature.off_because.clone()?)))
            .collect();
        let unclean = opened.unclean || before.is_some_and(|before| !before.stopped);
        let event = if unclean { "start_after_unclean_end" } else { "start" };
        self.lifecycle(event, now_ns, |record| {
            record.off_ns = off_ns;
            let mut detail = |name: &'static str, value: String| {
                record.details.push((Cow::Borrowed(name), Cow::Owned(value)));
            };
            for cut in &opened.cut {
                detail("cut", format!("{} from byte {}: {} bytes", cut.file, cut.offset, cut.bytes));
            }
            for damage in &opened.damage {
                detail("damage", damage.to_string());
            }
            for words in loud {
                detail("unprotected", words);
            }
            for (name, why) in off {
                detail("without", format!("{name}: {why}"));
            }
        });
        for damage in &opened.damage {
            eprintln!("headtrail: the journal is damaged: {damage}");
        }
    }

    /// SIGHUP.
    fn reload(&mut self, now_ns: u64) {
        let read = Config::load_or_default(self.plan.config_path.as_deref());
        // What needs a restart stays as it is, so that nothing tells what is not the case.
        let new = read.and_then(|new| {
            Ok((Config::diff(&self.plan.config, &new), Config::in_force(&self.plan.config, &new)?))
        });
        let (reload, new) = match new {
            Ok(new) => new,
            Err(problems) => {
                eprintln!("headtrail: the config is not read anew, the old one stays: {problems}");
                return;
            }
        };
        let volume = Volume::new(new.volume.clone(), SampleKey(self.sample_key.0));
        let (policy, volume) = match (policy(&new), volume) {
            (Ok(policy), Ok(volume)) => (policy, volume),
            (Err(failure), _) => {
                eprintln!("headtrail: the config is not read anew: {}", failure.message);
                return;
            }
            (_, Err(error)) => {
                eprintln!("headtrail: the config is not read anew: {error}");
                return;
            }
        };
        self.recorder.set_rules(policy, volume);
        let _ = self.orders.send(Order::Settings(keeper_settings(&new)));
        self.plan.config = new;
        for key in &reload.needs_restart {
            eprintln!("headtrail: {key} has changed and needs a restart");
        }
        eprintln!("headtrail: the config was read anew: {} keys have changed", reload.changed.len());
        let loud: Vec<String> = self.recorder.redactor.policy().loud().to_vec();
        self.lifecycle("config", now_ns, |record| {
            let mut all = |name: &'static str, values: Vec<String>| {
                record.details.extend(values.into_iter().map(|v| (Cow::Borrowed(name), Cow::Owned(v))));
            };
            all("changed", reload.changed);
            all("needs_restart", reload.needs_restart);
            all("unprotected", loud);
        });
    }

    /// Makes a new fingerprint key when the one in use is old enough.
    fn rotate_key(&mut self, now_ns: u64) {
        let Some(age_max) = self.plan.config.key_rotation else { return };
        if self.key_looked.elapsed() < KEY_INTERVAL.min(age_max) {
            return;
        }
        self.key_looked = Instant::now();
        let old = match key::list(&self.plan.data_dir, SystemTime::now()) {
            Ok(keys) => keys.last().filter(|key| key.age >= age_max).map(|key| key.id),
            Err(why) => {
                eprintln!("headtrail: {why}");
                None
            }
        };
        let Some(old) = old else { return };
        let made = key::rotate(&self.plan.data_dir)
            .and_then(|id| key::load_or_make(&self.plan.data_dir).map(|key| (id, key)));
        match made {
            Ok((id, key)) => {
                self.recorder.redactor.rotate(&key);
                self.lifecycle("fingerprint_key", now_ns, |record| {
                    record.details.push((Cow::Borrowed("key"), Cow::Owned(id.to_string())));
                    record.details.push((Cow::Borrowed("old_key"), Cow::Owned(old.to_string())));
                });
            }
            Err(why) => eprintln!("headtrail: {why}; the old key stays"),
        }
    }

    /// Nothing new comes; what is in the rings is still recorded.
    fn end(&mut self, capture: &mut Capture) {
        capture.detach();
        loop {
            if !self.recorder.has_room() {
                self.recorder.finish();
            }
            if !self.step(capture) {
                break;
            }
        }
        let now_ns = capture.now_ns();
        let Self { assembler, recorder, .. } = self;
        assembler.finish(&mut |raw| recorder.take(raw));
        self.tell_losses(capture, now_ns);
        self.lifecycle("stop", now_ns, |_| ());
        self.recorder.finish();
        let _ = self.orders.send(Order::End);
        self.board.put(self.snapshot(capture, now_ns));
    }

    /// Everything that is missing from the journal, zero or not.
    fn lost(&self, counts: &Counts) -> Vec<Lost> {
        let refused = self.recorder.refused;
        let mut all = counts.lost();
        for (stage, reason, count) in [
            ("record", "too_large", refused.too_large),
            ("record", "block_full", refused.block_full),
            ("memory", "records", refused.no_memory),
            ("journal", "backlog", self.shared.get().refused_records),
        ] {
            all.push(Lost { stage: Cow::Borrowed(stage), reason, what: "records", count });
        }
        all.extend(self.ships.iter().flat_map(Ships::lost));
        all
    }

    fn snapshot(&self, capture: &Capture, now_ns: u64) -> Snapshot {
        let counts = counts(capture, &self.assembler);
        let kept = self.shared.get();
        let owned = |name: &str, count| snapshot::Count { name: name.to_owned(), count };
        let lost = self
            .lost(&counts)
            .iter()
            .map(|lost| snapshot::Lost {
                stage: lost.stage.to_string(),
                reason: lost.reason.to_owned(),
                what: lost.what.to_owned(),
                count: lost.count,
            })
            .collect();
        let dropped = self.recorder.volume_counts.dropped();
        let reasons = self.recorder.volume.reasons();
        Snapshot {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            pid: std::process::id(),
            started_ns: self.started_ns,
            taken_ns: now_ns,
            filter: self.plan.filter_text.clone(),
            transactions: self.recorder.transactions,
            connections: protocols(&counts.assembled).map(|(name, count)| owned(name, count)).into(),
            long_calls: self.recorder.long_calls,
            lost,
            volume_dropped: reasons
                .iter()
                .zip(dropped)
                .map(|(name, &count)| owned(name, count))
                .chain([owned("own_requests", self.recorder.own_requests)])
                .collect(),
            ring_backlog_bytes: counts.backlog_bytes,
            ring_bytes: u64::from(self.plan.config.capture.ring_bytes),
            journal: Some(snapshot::Journal {
                blocks: kept.blocks,
                bytes: kept.bytes,
                records: kept.records,
                synced_record: kept.synced_records,
                unsynced_blocks: kept.next_block.saturating_sub(kept.synced_blocks),
                write_errors: kept.errors.iter().map(|(name, &count)| owned(name, count)).collect(),
            }),
            export: self.exported.as_ref().map(|exported| {
                let export::Progress { exported, failures, trouble, .. } = exported.get();
                snapshot::Export { exported, failures, trouble }
            }),
            memory: snapshot::Memory {
                bytes: self.resident.bytes().unwrap_or(0),
                limit_bytes: self.plan.config.memory_bytes_max,
                shed: self
                    .ceiling
                    .begun()
                    .chain(self.assembler.counters().shed.steps())
                    .map(|(name, count)| owned(name, count))
                    .collect(),
            },
            readers: self.ships.as_ref().map(|ships| ships.snapshot(now_ns)).unwrap_or_default(),
            sandbox: self.report.clone(),
            ..Snapshot::default()
        }
    }
}

fn make_data_dir(path: &Path) -> Result<(), Failure> {
    let made = DirBuilder::new().recursive(true).mode(0o750).create(path);
    made.map_err(|error| Failure::refused(format_args!("{}: {error}", path.display())))
}

/// Name of this host.
fn host() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

/// How the run before ended.
struct Before {
    /// Time of its newest record.
    last_ns: u64,
    /// Its last record says that it stopped.
    stopped: bool,
}

/// Looks at the newest block, number `blocks` - 1; None where there is none.
fn before(storage: Arc<dyn Storage>, blocks: u64) -> Option<Before> {
    let at = Position { block: blocks.checked_sub(1)?, ..Position::default() };
    let Ok(Some(Next::Block(block))) = Reader::open(storage, at).ok()?.next_block() else { return None };
    let last = block.records().last().and_then(|(_, bytes)| proto::decode(bytes).ok());
    let stopped = matches!(last, Some(Record::Lifecycle(record)) if record.event == "stop");
    Some(Before { last_ns: block.header.last_time_ns, stopped })
}

/// Whose fault it is that the journal cannot be opened.
pub(crate) fn journal_failure(error: headtrail_journal::Error) -> Failure {
    use headtrail_journal::Error;
    match error {
        Error::NewerVersion { .. } | Error::Corrupt { .. } | Error::TreeLost { .. } => Failure::usage(error),
        _ => Failure::refused(error),
    }
}
