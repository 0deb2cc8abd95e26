//! The kinds of faults: their names, and where and how much unless told otherwise.

use std::str::FromStr;

use jiff::SignedDuration;

use super::{Malformed, Place};

/// What a fault strikes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Class {
    /// Any request.
    Request,
    /// Watches.
    Watch,
    /// Reads that may be stale: those with `resourceVersion=0`.
    Stale,
    /// The creation of pods.
    Pod,
    /// The cluster, when a request is met.
    Cluster,
    /// The namespace that a request is about.
    Namespace,
    /// The object that a request names.
    Object,
}

macro_rules! kinds {
    ($($variant:ident $name:literal $class:ident $place:literal $seconds:literal $summary:literal,)*) => {
        /// What goes wrong.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
        pub enum FaultKind {
            $(#[doc = $summary] $variant,)*
        }

        impl FaultKind {
            /// Every kind.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// Its name on a command line.
            pub fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }

            /// What happens, in one line.
            pub fn summary(self) -> &'static str {
                match self { $(Self::$variant => $summary,)* }
            }

            pub(crate) fn class(self) -> Class {
                match self { $(Self::$variant => Class::$class,)* }
            }

            /// The usual place as text, and the usual extent in seconds; 0 is none.
            fn usual(self) -> (&'static str, i64) {
                match self { $(Self::$variant => ($place, $seconds),)* }
            }
        }
    };
}

kinds! {
    Conflict "conflict" Request "writes" 0 "refused with 409 Conflict",
    Gone "gone" Request "any" 0 "refused with 410, as a list with an old continue token or a watch before it starts",
    Invalid "invalid" Request "writes" 0 "refused with 422 Invalid",
    Forbidden "forbidden" Request "writes" 0 "refused with 403, as when a right was revoked",
    Denied "denied" Request "writes" 0 "refused with 403 by a policy's admission webhook",
    Throttled "throttled" Request "any" 1 "refused with 429 and a Retry-After",
    ThrottledBare "throttled-bare" Request "any" 0 "refused with 429 without Retry-After",
    InternalError "internal-error" Request "any" 0 "refused with 500",
    Unavailable "unavailable" Request "any" 0 "refused with 503",
    Timeout "timeout" Request "any" 0 "not carried out, and answered with 504",
    LostReply "lost-reply" Request "writes" 0 "carried out, and answered with 504",
    Reset "reset" Request "any" 0 "the connection breaks before the request is carried out",
    ResetAfter "reset-after" Request "writes" 0 "carried out, and the connection breaks before the answer",
    Truncated "truncated" Request "any" 0 "carried out, and the connection breaks within the answer",
    HangBefore "hang-before" Request "any" 0 "never carried out, never answered",
    HangAfter "hang-after" Request "writes" 0 "carried out, never answered",
    Trickle "trickle" Request "any" 0 "answered with one byte a second",
    Slow "slow" Request "any" 1 "carried out late by the duration",
    WatchExpired "watch-expired" Watch "watch" 0 "the watch ends at once with an ERROR event of code 410",
    WatchClosed "watch-closed" Watch "watch" 0 "the watch ends after its first events",
    HalfOpen "half-open" Watch "watch" 0 "the watch stays open, and nothing comes any more",
    NoBookmarks "no-bookmarks" Watch "watch" 0 "the watch has no bookmarks",
    LateWatch "late-watch" Watch "watch" 10 "the watch's events come late by the duration",
    WatchGap "watch-gap" Watch "watch" 10 "the watch is silent for the duration, then ends with code 410: what happened is only in the next list",
    MergedEvents "merged-events" Watch "watch" 5 "of an object's changes within the duration only the last is told",
    ReorderedEvents "reordered-events" Watch "watch" 5 "changes of different objects within the duration swap places",
    RepeatedEvents "repeated-events" Watch "watch" 30 "the watch begins with the changes of the last while again",
    StaleRead "stale-read" Stale "reads" 30 "a read with resourceVersion=0 shows the cluster as it was",
    Compacted "compacted" Cluster "any" 0 "etcd is compacted: older versions and continue tokens are gone",
    WatchesDropped "watches-dropped" Cluster "any" 0 "all watches end, as when the API server restarts",
    Restored "restored" Cluster "any" 30 "etcd is restored from a backup of that age: versions go back",
    RestoredAhead "restored-ahead" Cluster "any" 30 "etcd is restored from a backup of that age, with versions that go on",
    ClockJump "clock-jump" Cluster "any" 3600 "the cluster's wall clock jumps by the duration, which may be negative",
    Touched "touched" Object "writes" 0 "somebody else changes the object just before the request",
    LeaseDeleted "lease-deleted" Object "any leases" 0 "somebody deletes the Lease",
    LeaseStolen "lease-stolen" Object "any leases" 0 "somebody writes another holder into the Lease",
    Relabelled "relabelled" Namespace "patch" 0 "somebody labels the namespace istio.io/rev=elsewhere",
    GitOps "gitops" Namespace "patch" 180 "an agent resets the namespace's label and its workloads' restarts again and again",
    NamespaceDeleted "namespace-deleted" Namespace "patch" 0 "somebody deletes the namespace",
    NamespaceRecreated "namespace-recreated" Namespace "patch" 0 "the namespace is another one of the same name and labels, and empty",
    ImagePull "image-pull" Pod "create pods" 0 "the pod's image cannot be pulled",
    CrashLoop "crash-loop" Pod "create pods" 0 "the pod's container crashes again and again",
    NeverReady "never-ready" Pod "create pods" 0 "the pod runs and does not become ready",
    Unschedulable "unschedulable" Pod "create pods" 0 "no node takes the pod",
    QuotaExceeded "quota-exceeded" Pod "create pods" 0 "the pod is refused: a quota is used up",
    PodSecurity "pod-security" Pod "create pods" 0 "the pod is refused by Pod Security",
    PodDenied "pod-denied" Pod "create pods" 0 "the pod is refused by a policy's admission webhook",
    InjectorDown "injector-down" Pod "create pods" 0 "the injector does not answer, and its webhook's failurePolicy is Fail",
    InjectorIgnored "injector-ignored" Pod "create pods" 0 "the injector does not answer, and its webhook's failurePolicy is Ignore",
    WrongInjector "wrong-injector" Pod "create pods" 0 "another revision's injector takes the pod",
}

impl FaultKind {
    pub(crate) fn usual_extent(self) -> Option<SignedDuration> {
        let (_, seconds) = self.usual();
        (seconds != 0).then(|| SignedDuration::from_secs(seconds))
    }

    pub(crate) fn usual_place(self) -> Place {
        // A test parses all of them.
        self.usual().0.parse().unwrap_or_default()
    }
}

impl FromStr for FaultKind {
    type Err = Malformed;

    fn from_str(name: &str) -> Result<Self, Malformed> {
        Self::ALL.iter().find(|kind| kind.name() == name).copied().ok_or_else(|| {
            let names: Vec<_> = Self::ALL.iter().map(|kind| kind.name()).collect();
            Malformed::new(format!("there is no fault `{name}`, only {}", names.join(", ")))
        })
    }
}
