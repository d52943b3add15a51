//! What can be seen of a `run`: its lines, the picture below them, the same over HTTP and for `conclave status`.

use std::{
    fmt,
    net::{SocketAddr, TcpListener},
    str::FromStr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use conclave_ceremony::problem::{Kind, Problem};
use conclave_monitor::{
    monitoring::{self, Look, MOST_VALIDATORS},
    overview::{Overview, view::View},
};
use conclave_validator::{
    node::{Describe, News},
    pulse::Pulse,
};

use super::{aside::Aside, live::Live, news::Event, output::Output, run::now_ms, watcher::Watcher};

/// Where the picture is shown over HTTP, if anywhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MonitoringAddress {
    /// Nowhere.
    None,
    /// Here.
    At(SocketAddr),
}

impl FromStr for MonitoringAddress {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, &'static str> {
        if text == "none" {
            return Ok(Self::None);
        }
        let text = text
            .strip_prefix("localhost:")
            .map_or_else(|| text.to_owned(), |port| format!("127.0.0.1:{port}"));
        let address = text.parse().map(Self::At);
        address.map_err(|_| "give an IP address and a port, such as 127.0.0.1:3620, or none")
    }
}

impl fmt::Display for MonitoringAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => f.write_str("none"),
            Self::At(address) => address.fmt(f),
        }
    }
}

/// Takes the address before anything else is opened.
///
/// # Errors
/// If another program has it, or it is not one of this machine's.
pub(super) fn take(address: MonitoringAddress) -> Result<Option<TcpListener>, Problem> {
    let MonitoringAddress::At(address) = address else {
        return Ok(None);
    };
    let bound = TcpListener::bind(address).map_err(|error| {
        let why = if error.kind() == std::io::ErrorKind::AddrInUse {
            "another program uses that port; perhaps another conclave run, of another cluster".to_owned()
        } else {
            error.to_string()
        };
        Problem::new(
            Kind::Other,
            format!("cannot listen on {address} for the status page, /metrics and /health"),
            why,
            "choose another address with --monitoring-address, such as 127.0.0.1:3621, or none",
        )
    });
    bound.map(Some)
}

/// What is said, and the thread on which it is.
pub(super) struct Screen {
    aside: Aside,
    watcher: Arc<Mutex<Watcher>>,
    out: Output,
}

impl Screen {
    pub(super) fn new(aside: Aside, watcher: Watcher, out: &Output) -> Self {
        Self {
            aside,
            watcher: Arc::new(Mutex::new(watcher)),
            out: out.clone(),
        }
    }
}

/// The thread for what is said.
pub(super) fn screen(out: &Output, live: &Live) -> Result<Aside, Problem> {
    let (out, live) = (out.clone(), live.clone());
    let aside = Aside::new("screen", move |lost| {
        live.above(|| {
            out.warn(&format!(
                "{lost} messages were left out here: whoever shows or reads them was too slow"
            ));
        });
    });
    aside.map_err(|error| Problem::other("cannot start", error, "stop other programs and try again"))
}

/// Everything that looks on.
#[derive(Clone)]
pub(super) struct Sight {
    overview: Arc<Mutex<Overview>>,
    pulse: Pulse,
    live: Live,
}

impl Sight {
    pub(super) fn new(overview: Overview, pulse: Pulse, live: Live) -> Self {
        Self {
            overview: Arc::new(Mutex::new(overview)),
            pulse,
            live,
        }
    }

    fn overview(&self) -> MutexGuard<'_, Overview> {
        self.overview.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is to be seen now, with at most so many validators in full.
    fn view(&self, most_validators: usize) -> View {
        let mut view = self.overview().view(now_ms(), most_validators);
        view.quiet_for(self.pulse.quiet());
        view
    }

    /// Takes news, and has said what there is to say: a terminal that stands still must not hold up the node.
    pub(super) fn take(&self, screen: &Screen, news: News) {
        let now = now_ms();
        self.overview().tell(&news, now);
        let (sight, watcher, out) = (self.clone(), screen.watcher.clone(), screen.out.clone());
        screen.aside.give(move || {
            let mut watcher = watcher.lock().unwrap_or_else(PoisonError::into_inner);
            watcher.show(&out, &sight.live, news, now);
            if sight.live.wants() {
                sight.live.show(sight.view(MOST_VALIDATORS));
            }
        });
    }

    /// Answers whoever asks over HTTP, and says where.
    pub(super) fn serve(&self, out: &Output, listener: TcpListener) -> Result<(), Problem> {
        let system = |error| Problem::other("cannot start", error, "stop other programs and try again");
        let address = listener.local_addr().map_err(system)?;
        let sight = self.clone();
        let look: Look = Arc::new(move |most| (sight.view(most), sight.overview().totals().clone()));
        monitoring::serve(listener, look).map_err(system)?;
        out.line(&Event::Monitoring {
            address: address.to_string(),
        });
        out.say(format!("Look at it with conclave status, or at http://{address}"));
        Ok(())
    }

    /// For `conclave status`: with all validators.
    pub(super) fn describe(&self) -> Describe {
        let sight = self.clone();
        Arc::new(move || serde_json::to_value(sight.view(usize::MAX)).unwrap_or_default())
    }

    /// The picture stands still from now on.
    pub(super) fn leave(&self) {
        self.live.leave();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_understood() {
        let at = |text: &str| MonitoringAddress::At(text.parse().unwrap());
        assert_eq!("none".parse(), Ok(MonitoringAddress::None));
        assert_eq!("0.0.0.0:80".parse(), Ok(at("0.0.0.0:80")));
        assert_eq!("localhost:80".parse(), Ok(at("127.0.0.1:80")));
        assert_eq!("[::1]:3620".parse(), Ok(at("[::1]:3620")));
        for bad in [
            "",
            "3620",
            "127.0.0.1",
            "example.com:80",
            "http://127.0.0.1:80",
            "None",
        ] {
            assert!(bad.parse::<MonitoringAddress>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_port_that_is_taken_is_told_with_its_flag() {
        let other = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = MonitoringAddress::At(other.local_addr().unwrap());
        let problem = take(address).unwrap_err();
        assert!(
            problem.why.contains("another program uses that port"),
            "{problem:?}"
        );
        assert!(problem.what_to_do.contains("--monitoring-address"), "{problem:?}");
        assert!(take(MonitoringAddress::None).unwrap().is_none());
    }
}
