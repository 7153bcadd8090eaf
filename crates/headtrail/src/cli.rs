//! The command line, from which the parser, the help and the completions come.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use headtrail_record::record::Kind;
use headtrail_ship::setup::Target;

/// Records the header elements of the HTTP traffic on this host, exactly and without a secret.
#[derive(Parser)]
#[command(name = "headtrail", version, propagate_version = true)]
pub(crate) struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What to do.
#[derive(Subcommand)]
pub(crate) enum Command {
    /// Records each HTTP request and its response in a journal, as a daemon
    Run(Run),
    /// Shows each HTTP request and its response as it happens; nothing is stored
    Watch(Watch),
    /// Shows each HTTP request and its response that is in a capture file
    Read(Read),
    /// Tells what works on this host, and why not
    Doctor,
    /// Prints what is in the journal
    Journal(Journal),
    /// Proves the journal whole, or names what is not; ends with 1 then
    Verify(Verify),
    /// Prepares a cluster or its dashboards for the documents: templates, life cycle, dashboards
    Setup(Setup),
    /// Sends what destinations had refused once more
    Ship(Ship),
    /// Checks the config file, or tells what can be in it
    Config(Config),
    /// Asks the running daemon for its counters, lags and privileges
    Status(Status),
    /// Prints docs/metrics.md
    #[command(hide = true)]
    MetricsPage,
    /// Tells names of executables to the recorder, which has no right to look at them
    #[command(name = crate::names::COMMAND, hide = true)]
    HelperNames,
    /// Puts checkpoints elsewhere for the recorder, which may neither run a program nor make a connection
    #[command(name = crate::export::COMMAND, hide = true)]
    HelperExport,
}

/// `headtrail run`
#[derive(Args)]
#[command(
    after_help = "FILTER is tcpdump's language, as in 'headtrail watch --help'; what stands here takes the place of the config's.\n\n\
SIGHUP reads the config anew, SIGUSR1 prints the counts so far to standard error; Ctrl-C or SIGTERM ends it."
)]
pub(crate) struct Run {
    /// The config file
    #[arg(short, long, value_name = "FILE", help = format!("The config file; {} when left out, which need not be there", crate::config::DEFAULT_PATH))]
    pub(crate) config: Option<PathBuf>,
    /// Folder of everything that is kept, instead of the config's
    #[arg(long, value_name = "DIR")]
    pub(crate) data_dir: Option<PathBuf>,
    /// Address of loopback for /metrics, instead of the config's
    #[arg(long, value_name = "ADDR")]
    pub(crate) web: Option<SocketAddr>,
    /// User that the daemon becomes, instead of the config's
    #[arg(long, value_name = "NAME")]
    pub(crate) user: Option<String>,
    /// Which connections to record; the config's when left out
    #[arg(value_name = "FILTER", trailing_var_arg = true)]
    pub(crate) filter: Vec<String>,
}

/// `headtrail journal`
#[derive(Args)]
pub(crate) struct Journal {
    /// What to do.
    #[command(subcommand)]
    pub(crate) command: JournalCommand,
}

/// `headtrail journal …`
#[derive(Subcommand)]
pub(crate) enum JournalCommand {
    /// Prints the records in order, one a line, also while the daemon runs; ends with 1 where some cannot be read
    Cat(Cat),
}

/// `headtrail journal cat`
#[derive(Args)]
pub(crate) struct Cat {
    /// Folder of everything that is kept
    #[arg(long, value_name = "DIR", default_value = "/var/lib/headtrail")]
    pub(crate) data_dir: PathBuf,
    /// Only records of this type: transaction, loss, lifecycle, annotation, coverage, checkpoint, …
    #[arg(long = "type", value_name = "TYPE", value_parser = kind)]
    pub(crate) kind: Option<Kind>,
    /// Form of the output
    #[arg(long, value_enum, default_value_t = CatFormat::Json)]
    pub(crate) format: CatFormat,
}

/// Form of what the journal prints.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum CatFormat {
    /// A line of JSON a record
    Json,
    /// A line of JSON a record, with the names of the Elastic Common Schema
    Ecs,
}

/// The type of that name.
fn kind(name: &str) -> Result<Kind, String> {
    Kind::of_name(name).ok_or_else(|| format!("there is no such type; there are {}", Kind::NAMES.join(", ")))
}

/// `headtrail verify`
#[derive(Args)]
#[command(
    after_help = "The signing key lies on the same host: whoever owns the host can write another journal and sign it. Only a checkpoint that was exported \
before ([journal.checkpoint] in the config), to where they cannot change it, shows that; and a key file from elsewhere."
)]
pub(crate) struct Verify {
    /// Folder of everything that is kept
    #[arg(long, value_name = "DIR", default_value = "/var/lib/headtrail")]
    pub(crate) data_dir: PathBuf,
    /// Public key of the journal; DIR/keys/journal.pub when left out
    #[arg(long, value_name = "FILE")]
    pub(crate) key: Option<PathBuf>,
    /// An earlier checkpoint, or a file of exported ones, from each of which the journal must go on
    #[arg(long, value_name = "FILE")]
    pub(crate) checkpoint: Option<PathBuf>,
    /// Prove only that this record is in it: its id, or its number in the journal
    #[arg(long, value_name = "ID")]
    pub(crate) record: Option<String>,
    /// Form of the answer
    #[arg(long, value_enum, default_value_t = VerifyFormat::Text)]
    pub(crate) format: VerifyFormat,
}

/// Form of the answer.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum VerifyFormat {
    /// For people
    Text,
    /// One line of JSON, with the signed range of each segment
    Json,
}

/// `headtrail setup`
#[derive(Args)]
#[command(
    after_help = "It can be run again and again: what is so already stays as it is. It deletes nothing and closes nothing.\n\n\
Exit codes: 1, it does not answer, or a step is left open; 2, it refuses."
)]
pub(crate) struct Setup {
    /// What is prepared: elasticsearch, opensearch, kibana or opensearch-dashboards
    #[arg(value_name = "TARGET", value_parser = target)]
    pub(crate) target: Target,
    /// Its base URL, such as https://es.example:9200
    #[arg(value_name = "URL", value_parser = server_url)]
    pub(crate) url: String,
    /// Print what would be sent, and send nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Name for HTTP Basic
    #[arg(long, value_name = "NAME", requires = "password_file")]
    pub(crate) username: Option<String>,
    /// File with the password
    #[arg(long, value_name = "FILE", requires = "username")]
    pub(crate) password_file: Option<PathBuf>,
    /// File with an API key
    #[arg(long, value_name = "FILE", conflicts_with = "username")]
    pub(crate) api_key_file: Option<PathBuf>,
    /// Certificates of the only authorities to trust, in PEM; those of the system when left out
    #[arg(long, value_name = "FILE")]
    pub(crate) ca_file: Option<PathBuf>,
    /// Certificate to show, in PEM
    #[arg(long, value_name = "FILE", requires = "key_file")]
    pub(crate) cert_file: Option<PathBuf>,
    /// Its key, in PEM
    #[arg(long, value_name = "FILE", requires = "cert_file")]
    pub(crate) key_file: Option<PathBuf>,
    /// Delete documents so many days after the next index began
    #[arg(long, value_name = "DAYS", default_value_t = headtrail_ship::setup::Options::default().retention_days, value_parser = clap::value_parser!(u32).range(1..=36_500))]
    pub(crate) retention_days: u32,
    /// Begin a new index after so many days
    #[arg(long, value_name = "DAYS", default_value_t = headtrail_ship::setup::Options::default().rollover_days, value_parser = clap::value_parser!(u32).range(1..=36_500))]
    pub(crate) rollover_days: u32,
    /// Begin a new index when a primary shard has so many gigabytes
    #[arg(long, value_name = "GB", default_value_t = headtrail_ship::setup::Options::default().rollover_gb, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    pub(crate) rollover_gb: u32,
}

/// The target of that name.
fn target(name: &str) -> Result<Target, String> {
    let found = Target::ALL.iter().find(|(known, _)| *known == name);
    let names: Vec<&str> = Target::ALL.iter().map(|(known, _)| *known).collect();
    found
        .map(|(_, target)| *target)
        .ok_or_else(|| format!("there is none of that name; there are {}", names.join(", ")))
}

/// A URL that a request can be sent to, and that has no secret, since command lines can be seen by all.
fn server_url(text: &str) -> Result<String, String> {
    let rest = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
    let rest = rest.ok_or("it begins with https:// or http://")?;
    if rest.split(['/', '?', '#']).next().unwrap_or_default().contains('@') {
        return Err(
            "names and passwords do not belong into a URL; see --username and --password-file".to_owned()
        );
    }
    if rest.is_empty() || rest.contains(['?', '#', ' ']) {
        return Err("it is a scheme, a host, maybe a port and a path".to_owned());
    }
    Ok(text.to_owned())
}

/// `headtrail ship`
#[derive(Args)]
pub(crate) struct Ship {
    /// What to do.
    #[command(subcommand)]
    pub(crate) command: ShipCommand,
}

/// `headtrail ship …`
#[derive(Subcommand)]
pub(crate) enum ShipCommand {
    /// Sends the documents in dead-letter files again, also while the daemon runs; ends with 1 where some are refused again
    #[command(
        after_help = "What arrives is taken out of the files, what is refused goes into them again. Documents keep their ids."
    )]
    Replay {
        /// The config file
        #[arg(short, long, value_name = "FILE", help = format!("The config file; {} when left out", crate::config::DEFAULT_PATH))]
        config: Option<PathBuf>,
        /// Folder of everything that is kept, instead of the config's
        #[arg(long, value_name = "DIR")]
        data_dir: Option<PathBuf>,
        /// Destinations, by their names in the config; all that have dead letters when left out
        #[arg(value_name = "NAME")]
        names: Vec<String>,
    },
}

/// `headtrail config`
#[derive(Args)]
pub(crate) struct Config {
    /// What to do.
    #[command(subcommand)]
    pub(crate) command: ConfigCommand,
}

/// `headtrail config …`
#[derive(Subcommand)]
pub(crate) enum ConfigCommand {
    /// Tells all that is wrong with a config file; ends with 0 if nothing is, and else with 2
    Check {
        /// The file.
        #[arg(short, long, value_name = "FILE", help = format!("The file; {} when left out, which need not be there", crate::config::DEFAULT_PATH))]
        config: Option<PathBuf>,
        /// Print the values in effect too, as a config file
        #[arg(long)]
        show: bool,
    },
    /// Prints every key with its meaning, default and limits, as Markdown
    Keys,
}

/// `headtrail watch`
#[derive(Args)]
#[command(
    after_help = "FILTER is tcpdump's language and selects whole connections: host, net, port, portrange, src, dst, tcp, \
ip, ip6, and, or, not and parentheses, for example 'src net 10.0.0.0/8 and dst port 9080'. It runs in the kernel.\n\n\
SIGUSR1 prints the counts so far to standard error; Ctrl-C ends and prints them."
)]
pub(crate) struct Watch {
    /// Form of the output
    #[arg(long, value_enum, default_value_t = Format::Text)]
    pub(crate) format: Format,
    /// Show all field lines and the TCP/IP elements (text form)
    #[arg(short, long)]
    pub(crate) verbose: bool,
    /// Where the fingerprint key is kept; it is made at first use
    #[arg(long, value_name = "DIR", default_value = "/var/lib/headtrail")]
    pub(crate) data_dir: PathBuf,
    /// Size of the kernel's ring buffer in bytes, rounded up to a power of two
    #[arg(long, value_name = "BYTES", default_value_t = headtrail_capture::RING_BYTES_DEFAULT,
          value_parser = clap::value_parser!(u32).range(i64::from(headtrail_capture::RING_BYTES_MIN)..=i64::from(headtrail_capture::RING_BYTES_MAX)))]
    pub(crate) ring_bytes: u32,
    /// Which connections to watch; all when left out
    #[arg(value_name = "FILTER", trailing_var_arg = true)]
    pub(crate) filter: Vec<String>,
}

/// `headtrail read`
#[derive(Args)]
#[command(
    after_help = "FILTER is the language of tcpdump, all of it, and is asked of each packet as it was captured (in a tunnel: of the outermost headers; \
behind a VLAN tag: 'vlan and port 80'). It selects whole connections: one of which any packet matches is shown from its beginning. The file is read twice for that; \
from standard input, which cannot be read again, a connection is shown from its first packet that matches on.\n\n\
No privileges are needed. A file that ends early, and whatever else of it is not read, is told by loss records.\n\n\
TLS 1.2 and 1.3 are decrypted with the secrets that one of the ends has written down (SSLKEYLOGFILE of curl and browsers), from --keylog and from the file itself."
)]
pub(crate) struct Read {
    /// Form of the output
    #[arg(long, value_enum, default_value_t = Format::Text)]
    pub(crate) format: Format,
    /// Show all field lines and the TCP/IP elements (text form)
    #[arg(short, long)]
    pub(crate) verbose: bool,
    /// Secrets of TLS connections, in the form that browsers and curl write where SSLKEYLOGFILE says; those that are in a pcapng file are used as well
    #[arg(long, value_name = "FILE")]
    pub(crate) keylog: Option<PathBuf>,
    /// A fingerprint key of the daemon; without it a key is made for this run alone
    #[arg(long, value_name = "FILE")]
    pub(crate) fingerprint_key: Option<PathBuf>,
    /// Print the values of all lines as they are in the file, with every secret in them
    #[arg(long)]
    pub(crate) show_secrets: bool,
    /// A file in the format pcap or pcapng, compressed by gzip or zstd or not; '-' is standard input
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,
    /// Which connections to show; all when left out
    #[arg(value_name = "FILTER", trailing_var_arg = true)]
    pub(crate) filter: Vec<String>,
}

/// `headtrail status`
#[derive(Args)]
#[command(after_help = "Exit code 1: no daemon runs with this data directory.")]
pub(crate) struct Status {
    /// Data directory of the daemon
    #[arg(long, value_name = "DIR", default_value = "/var/lib/headtrail")]
    pub(crate) data_dir: PathBuf,
    /// Form of the output
    #[arg(long, value_enum, default_value_t = StatusFormat::Text)]
    pub(crate) format: StatusFormat,
}

/// Form of the status.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum StatusFormat {
    /// For people
    Text,
    /// As JSON, for scripts
    Json,
}

/// Form of the output.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// A line a transaction, for people
    Text,
    /// A line of JSON a record
    Json,
    /// A line of JSON a record, with the names of the Elastic Common Schema
    Ecs,
}
