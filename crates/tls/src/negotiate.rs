//! What handshake messages do: facts, and the keys that follow from them and the log.

use crate::cipher::Etm;
use crate::connection::{Connection, Context};
use crate::facts::{Reason, Side, State, Version};
use crate::half::{Epoch, Keys, PassEarly};
use crate::handshake::{
    CLIENT_HELLO, ENCRYPTED_EXTENSIONS, END_OF_EARLY_DATA, FINISHED, KEY_UPDATE, Message, SERVER_HELLO,
    SERVER_HELLO_DONE,
};
use crate::hello::{ClientHello, EncryptedExtensions, ServerHello};
use crate::keylog::KeyLog;
use crate::schedule;
use crate::suites::{Algorithm, Hash};

/// A whole KeyUpdate up to its last byte, which says whether an answer is wanted.
const KEY_UPDATE_BEGIN: [u8; 4] = [KEY_UPDATE, 0, 0, 1];

/// What a message did to the keys of its own direction.
#[derive(PartialEq, Eq)]
enum Effect {
    SameKeys,
    NewKeys,
}

impl Connection {
    /// Takes the content of a record with handshake messages.
    pub(crate) fn messages(&mut self, text: &[u8], context: &mut Context<'_>) -> Result<(), Reason> {
        if text.is_empty() {
            return Err(Reason::Malformed);
        }
        let at = context.side.index();
        let mut rest = text;
        if self.halves[at].adrift {
            // What follows a gap may be the end of a message. A KeyUpdate alone in its record is recognised, and without
            // it nothing further could be read.
            if text.len() != KEY_UPDATE_BEGIN.len() + 1 || !text.starts_with(&KEY_UPDATE_BEGIN) {
                return Ok(());
            }
            self.halves[at].adrift = false;
        }
        while let Some(message) = self.halves[at].joiner.next(&mut rest)? {
            // Messages do not reach over a change of keys (RFC 8446, 5.1).
            if self.message(&message, context)? == Effect::NewKeys && !rest.is_empty() {
                return Err(Reason::Malformed);
            }
        }
        Ok(())
    }

    fn message(&mut self, message: &Message, context: &Context<'_>) -> Result<Effect, Reason> {
        let side = context.side;
        let from_client = self.is_client(side);
        let tls13 = self.facts.version == Some(Version::TLS13);
        let epoch = self.halves[side.index()].epoch();
        match message.kind {
            CLIENT_HELLO if from_client => self.client_hello(&message.body),
            SERVER_HELLO if !from_client => self.server_hello(&message.body, side, context.log),
            SERVER_HELLO_DONE if !from_client => {
                self.hello_done = true;
                Ok(Effect::SameKeys)
            }
            CLIENT_HELLO | SERVER_HELLO => Err(Reason::Malformed),
            _ if !tls13 => Ok(Effect::SameKeys),
            ENCRYPTED_EXTENSIONS if !from_client && epoch == Some(Epoch::Handshake) => {
                self.encrypted_extensions(&message.body, side)
            }
            // A Finished that comes later belongs to authentication after the handshake and changes no keys.
            FINISHED if epoch == Some(Epoch::Handshake) => self.advance(side),
            END_OF_EARLY_DATA if from_client && epoch == Some(Epoch::Early) => self.advance(side),
            KEY_UPDATE if epoch == Some(Epoch::Application) && message.body.len() == 1 => {
                let half = &mut self.halves[side.index()];
                let keys = half.keys.as_ref().and_then(Keys::updated).ok_or(Reason::Malformed)?;
                half.use_keys(keys);
                Ok(Effect::NewKeys)
            }
            ENCRYPTED_EXTENSIONS | END_OF_EARLY_DATA | KEY_UPDATE => Err(Reason::Malformed),
            _ => Ok(Effect::SameKeys),
        }
    }

    fn advance(&mut self, side: Side) -> Result<Effect, Reason> {
        self.halves[side.index()].advance()?;
        self.state = State::Decrypting;
        Ok(Effect::NewKeys)
    }

    /// TLS 1.2: the records of this end have the keys that were agreed on last.
    pub(crate) fn change_cipher(&mut self, side: Side) -> Result<(), Reason> {
        // Only a resumed session goes without the server's certificate and key exchange (RFC 5246, 7.3).
        if self.hello_done {
            self.facts.resumed = Some(false);
        } else if !self.is_client(side) && !self.halves[side.index()].adrift {
            self.facts.resumed = Some(true);
        }
        self.advance(side).map(drop)
    }

    fn client_hello(&mut self, body: &[u8]) -> Result<Effect, Reason> {
        let again = self.client_random.is_some();
        let may_come = match self.facts.version {
            None => !again,
            Some(Version::TLS13) => self.retried,
            Some(_) => true,
        };
        if !may_come {
            return Err(Reason::Malformed);
        }
        let hello = ClientHello::parse(body).ok_or(Reason::Malformed)?;
        self.client_random = Some(hello.random);
        self.facts.server_name = hello.server_name;
        if self.retried {
            self.retried = false;
            if let Some(client) = self.facts.client {
                self.halves[client.index()].pass_early = PassEarly::No;
            }
        } else {
            self.early_undecided = hello.early_data && !again;
        }
        Ok(Effect::SameKeys)
    }

    fn server_hello(&mut self, body: &[u8], server: Side, log: &KeyLog) -> Result<Effect, Reason> {
        if let [0x7f, draft, ..] = *body {
            // Drafts of TLS 1.3 before the 22nd: a ServerHello of another form.
            self.facts.version = Some(Version(0x7f00 | u16::from(draft)));
            return Err(Reason::VersionNotSupported);
        }
        let hello = ServerHello::parse(body).ok_or(Reason::Malformed)?;
        let version = Version(hello.version);
        let retry = hello.is_retry();
        // A retry chooses the version for good; a renegotiation stays with it.
        let keyed = self.halves[server.index()].keys.is_some();
        let version_kept = self.facts.version.is_none_or(|chosen| chosen == version);
        if !version_kept || (version == Version::TLS13 && (keyed || self.retried)) {
            return Err(Reason::Malformed);
        }
        self.facts.version = Some(version);
        self.facts.suite = Some(hello.suite);
        if version != Version::TLS12 && version != Version::TLS13 {
            return Err(Reason::VersionNotSupported);
        }
        if hello.suite.is_tls13() != (version == Version::TLS13) {
            return Err(Reason::Malformed);
        }
        if version == Version::TLS12 {
            self.early_undecided = false;
            self.choose_tls12(&hello, server, log);
            return Ok(Effect::SameKeys);
        }
        if retry {
            self.retried = true;
            self.refuse_early_data(server.other());
            return Ok(Effect::SameKeys);
        }
        self.facts.resumed = Some(hello.pre_shared_key);
        let protection = hello.suite.protection().ok_or(Reason::SuiteNotSupported)?;
        self.choose_tls13(protection, server, log).ok_or(Reason::NoKey)?;
        self.advance(server)?;
        if !self.early_undecided {
            self.advance(server.other())?;
        }
        Ok(Effect::NewKeys)
    }

    /// Lays ready what a ChangeCipherSpec of each end will bring. That there is nothing is said only then: what comes
    /// before it can be read.
    fn choose_tls12(&mut self, hello: &ServerHello, server: Side, log: &KeyLog) {
        self.facts.alpn.clone_from(&hello.alpn);
        self.hello_done = false;
        let openers = self.openers_tls12(hello, log);
        let (for_client, for_server) = match openers {
            Ok(openers) => (Ok(Keys::tls12(openers.client)), Ok(Keys::tls12(openers.server))),
            Err(reason) => (Err(reason), Err(reason)),
        };
        for (side, keys) in [(server, for_server), (server.other(), for_client)] {
            self.halves[side.index()].next = [keys].into();
        }
    }

    fn openers_tls12(&self, hello: &ServerHello, log: &KeyLog) -> Result<schedule::Openers12, Reason> {
        let protection = hello.suite.protection().ok_or(Reason::SuiteNotSupported)?;
        if hello.compressed {
            return Err(Reason::Compressed);
        }
        let client_random = self.client_random.as_ref().ok_or(Reason::Malformed)?;
        let master = log.get(client_random).and_then(|s| s.master.as_ref()).ok_or(Reason::NoKey)?;
        schedule::tls12(protection, Etm(hello.encrypt_then_mac), master, client_random, &hello.random)
            .ok_or(Reason::SuiteNotSupported)
    }

    /// Lays ready the keys of the handshake and of application data.
    fn choose_tls13(&mut self, protection: (Algorithm, Hash), server: Side, log: &KeyLog) -> Option<()> {
        let secrets = log.get(self.client_random.as_ref()?)?;
        let keys = |epoch, secret| Keys::tls13(epoch, protection, secret).map(Ok);
        self.halves[server.index()].next = [
            keys(Epoch::Handshake, secrets.server_handshake.as_ref())?,
            keys(Epoch::Application, secrets.server_traffic.as_ref())?,
        ]
        .into();
        let client = &mut self.halves[server.other().index()];
        client.next = [
            keys(Epoch::Handshake, secrets.client_handshake.as_ref())?,
            keys(Epoch::Application, secrets.client_traffic.as_ref())?,
        ]
        .into();
        if self.early_undecided {
            client
                .next
                .push_front(keys(Epoch::Early, secrets.client_early.as_ref()).unwrap_or(Err(Reason::NoKey)));
        }
        Some(())
    }

    fn encrypted_extensions(&mut self, body: &[u8], server: Side) -> Result<Effect, Reason> {
        let found = EncryptedExtensions::parse(body).ok_or(Reason::Malformed)?;
        self.facts.alpn = found.alpn;
        if !self.early_undecided {
            return Ok(Effect::SameKeys);
        }
        let client = server.other();
        let half = &mut self.halves[client.index()];
        if !found.early_data {
            half.next.pop_front();
            self.refuse_early_data(client);
            self.advance(client)?;
            return Ok(Effect::SameKeys);
        }
        self.early_undecided = false;
        self.facts.early_data = Some(true);
        if let Some(Err(_)) = half.next.front() {
            // Without its secret 0-RTT data is passed over: the first record of the handshake is the first that opens.
            half.next.pop_front();
            half.pass_early = PassEarly::Missed;
        }
        self.advance(client)?;
        Ok(Effect::SameKeys)
    }

    /// 0-RTT data that the server does not take is passed over, as the server does (RFC 8446, 4.2.10).
    fn refuse_early_data(&mut self, client: Side) {
        if self.early_undecided {
            self.early_undecided = false;
            self.facts.early_data = Some(false);
            self.halves[client.index()].pass_early = PassEarly::Refused;
        }
    }
}
