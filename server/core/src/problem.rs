//! The one list of finding codes: what can be wrong with a namespace, a workload or a move, and
//! what to do about it. Checks, refusals, FAILED and BLOCKED moves all draw on it.

use jiff::Timestamp;

macro_rules! codes {
    ($($(#[$doc:meta])* $name:ident = $code:literal, $remedy:literal;)*) => {
        /// A stable finding code.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Code { $($(#[$doc])* $name,)* }

        impl Code {
            /// Every code.
            pub const ALL: &[Self] = &[$(Self::$name,)*];

            /// The code as users see it.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$name => $code,)* }
            }

            /// The name of the code, for documents.
            pub fn name(self) -> &'static str {
                match self { $(Self::$name => stringify!($name),)* }
            }

            /// What to do about it.
            pub fn remedy(self) -> &'static str {
                match self { $(Self::$name => $remedy,)* }
            }

            /// Whether an error of this code may be allowed for a migration: what makes a plan impossible
            /// may not.
            pub fn can_be_allowed(self) -> bool {
                let number = self.as_str().get(2..).and_then(|it| it.parse::<u32>().ok());
                let number = number.unwrap_or_default();
                !matches!(number, 1000..=1009 | 1100..=1109 | 2001 | 2003 | 2004 | 6000..)
            }

            /// The code of that text.
            pub fn parse(text: &str) -> Option<Self> {
                Self::ALL.iter().copied().find(|code| code.as_str() == text)
            }
        }
    };
}

codes! {
    /// There is no such namespace.
    NamespaceNotFound = "RS1001", "check the spelling with `revshift namespaces`";
    /// The namespace is being deleted.
    NamespaceTerminating = "RS1002", "leave it out";
    /// The namespace's labels do not attach it to the source.
    NamespaceNotAttached = "RS1003",
        "see `revshift namespaces`; name the plane that it is attached to with --from";
    /// The namespace's label names a tag.
    NamespaceByTag = "RS1004",
        "pass --tags=rewrite to have its label replaced by the target's";
    /// The namespace is injected through `istio-injection`.
    NamespaceByInjection = "RS1005",
        "pass --tags=rewrite to have it replaced by istio.io/rev, where it leads to the source";
    /// The namespace's owner wants revshift to leave it alone.
    NamespaceSkipped = "RS1006", "leave it out, or take its annotation revshift.dev/skip away";
    /// The namespace's label is kept by GitOps or Helm, so it is theirs to change.
    NamespaceExternal = "RS1007",
        "set istio.io/rev where its owner keeps it, once its wave has begun; the move goes on when it appears";
    /// A namespace's label names what no webhook serves.
    LabelDangling = "RS1010", "set istio.io/rev to a plane of `revshift planes`";
    /// Several webhooks serve a namespace's pods now.
    InjectorsConflict = "RS1011", "compare the selectors of the injector webhooks with the namespace's labels";
    /// A namespace's label names a tag, which others can move.
    TagMovesAlone = "RS1012", "do not move the tag while the migration runs";
    /// The target's discovery selectors hide the namespace from it.
    NamespaceUndiscovered = "RS1013",
        "widen discoverySelectors in the target's mesh configuration, or label the namespace as they ask";
    /// A Deployment is paused.
    WorkloadPaused = "RS1101", "nothing: its pods are evicted one at a time";
    /// A workload is only updated when its pods are deleted.
    WorkloadOnDelete = "RS1102", "nothing: its pods are evicted one at a time";
    /// A StatefulSet keeps old pods below its partition.
    WorkloadPartitioned = "RS1103", "nothing: its pods are evicted one at a time";
    /// Pods belong to a ReplicaSet without Deployment, or a ReplicationController.
    WorkloadBare = "RS1104", "nothing: its pods are evicted one at a time";
    /// Pods belong to a controller that revshift does not know.
    WorkloadUnknown = "RS1105", "make sure that it replaces pods that are evicted";
    /// The pod template carries a sidecar of its own.
    WorkloadBakedIn = "RS1106", "remove the sidecar that `istioctl kube-inject` put into its template";
    /// Evicting a workload's only ready pod would interrupt it.
    WorkloadNeedsDowntime = "RS1107",
        "scale it to two ready replicas, or accept the interruption: migrate with --allow-downtime";
    /// Another controller writes a workload's pod template, and would take a restart back.
    WorkloadOwned = "RS1108", "nothing: its pods are evicted one at a time";
    /// A workload's pods use the node's network.
    HostNetwork = "RS1110", "nothing: they are left alone";
    /// A pod template's label is hidden by the namespace's.
    PodLabelHidden = "RS1111", "nothing: the namespace's label decides";
    /// A workload's pods ask for no sidecar.
    WorkloadOptedOut = "RS1112", "nothing: they are left alone";
    /// A workload has one replica.
    WorkloadSingle = "RS1113", "scale it to two ready replicas where it must not be interrupted";
    /// A Deployment replaces all its pods at once.
    WorkloadRecreates = "RS1114", "expect an interruption, or set its strategy to RollingUpdate";
    /// A strategy allows neither a pod less nor a pod more.
    WorkloadRigid = "RS1115", "raise maxSurge or maxUnavailable";
    /// A PodDisruptionBudget allows no disruption now.
    BudgetExhausted = "RS1116", "mend the pods that the budget counts, or raise what it allows";
    /// A workload is not wholly available before anything is done.
    WorkloadUnhealthy = "RS1117", "mend it first: what is broken before cannot be told from what the move breaks";
    /// An autoscaler has reached its most.
    AutoscalerAtLimit = "RS1118", "raise maxReplicas, or move when there is less load";
    /// The target's injector refuses a pod template.
    TrialRefused = "RS1120", "mend what the injector says of the template";
    /// The target would give pods no sidecar that have one.
    TrialWithoutSidecar = "RS1121", "compare the target's injection settings with the source's";
    /// The target would give pods a sidecar that have none.
    TrialNewSidecar = "RS1122", "make sure that the workload is meant to have one";
    /// A sidecar's image changes.
    SidecarImage = "RS1123", "nothing: every plane has its own";
    /// A sidecar becomes native, or is not any more.
    SidecarNative = "RS1124", "check what depends on the order in which containers start and end";
    /// A sidecar's ports change.
    SidecarPorts = "RS1125", "check what scrapes or calls those ports";
    /// A sidecar's resources change.
    SidecarResources = "RS1126", "check quotas and room on the nodes";
    /// What redirects a pod's traffic changes.
    SidecarRedirection = "RS1127", "check that the CNI plugin or the init container is allowed and there";
    /// A Job keeps its sidecar until it ends.
    LeftoverJob = "RS1201", "nothing: it ends by itself";
    /// A CronJob uses the target at its next run.
    LeftoverCronJob = "RS1202", "nothing: its next run is on the target";
    /// A pod without controller would not come back.
    LeftoverBarePod = "RS1203", "recreate it by hand";
    /// A workload without replicas uses the target when it is scaled up.
    LeftoverScaledToZero = "RS1204", "nothing: its next pods are on the target";
    /// The workload's owner wants revshift to leave it alone.
    LeftoverSkipped = "RS1205", "nothing: its annotation revshift.dev/skip asks for it";
    /// A gateway moves.
    GatewayMoves = "RS1401", "watch its traffic when its wave begins";
    /// istiod rolls a gateway as soon as the label changes.
    GatewayRollsAtOnce = "RS1402", "expect it: no restart is needed, and none is waited for";
    /// A gateway names its plane itself.
    GatewayPinned = "RS1403", "change its own label istio.io/rev when it is to move";
    /// An IstioMeshGateway stays with its plane.
    MeshGatewayStays = "RS1404",
        "create a second IstioMeshGateway on the target, move DNS or the load balancer to it, then delete the old one";
    /// The plan moves nothing back: the labels were the same before.
    RollbackNothing = "RS1301", "that migration only restarted it: its label was already the target's";
    /// The migration did not move the namespace.
    RollbackNotMoved = "RS1302", "see `revshift status` for the namespaces that it moved";
    /// The namespace was changed after the migration.
    RollbackChanged = "RS1303", "look who changed it, and move it with a migration of its own";
    /// What a rollback would restore leads elsewhere now.
    RollbackByRevision = "RS1304", "nothing: it goes back; lead the tag back, and label it anew, if that was wanted";
    /// A tag that the plan rests on leads to another plane than it did.
    TagMoved = "RS1501",
        "lead the tag back to the plane of the plan, then resume; or cancel, and plan again";
    /// The webhooks of a plane of the plan do not inject any more what carries its revision.
    InjectorMoved = "RS1502",
        "mend the plane's injector webhooks, then resume; or cancel, and plan again";
    /// The target plane is not Available.
    PlaneUnavailable = "RS2001", "look at the plane with `revshift planes`, mend it, then retry";
    /// A plane of the migration does not exist any more.
    PlaneGone = "RS2002", "bring it back, or cancel the migration";
    /// The webhooks would not give new pods of the namespace to the target alone.
    InjectorMismatch = "RS2003",
        "compare the selectors of the injector webhooks with the namespace's labels";
    /// Another cluster decides on the labels of a plane's namespaces.
    InjectionSourcePeer = "RS2004",
        "migrate in the cluster that is named: its labels are copied here; or take the annotation off its plane";
    /// A plane's operator does not follow the labels.
    OperatorStale = "RS2005", "see whether the plane's operator runs, and what its log says";
    /// Not all istiod replicas are available.
    IstiodDegraded = "RS2006", "mend the target's istiod";
    /// There is one istiod replica.
    IstiodSingle = "RS2007", "give the target two replicas";
    /// istiod's autoscaler has reached its most.
    IstiodAtLimit = "RS2008", "raise the maxReplicas of istiod's autoscaler";
    /// A webhook has no CA bundle.
    WebhookUntrusted = "RS2009", "see why the target's istiod does not write its CA bundle";
    /// A webhook's Service has no ready endpoint.
    WebhookUnserved = "RS2010", "mend the target's istiod or its Service";
    /// A plane has no injector webhook.
    InjectorMissing = "RS2011", "install the target's injector webhooks";
    /// Nothing tells a plane's version.
    VersionUnknown = "RS2012", "make sure that the planes are at most two minor versions apart";
    /// The planes are more than two minor versions apart.
    SkewTooWide = "RS2013", "move by way of a plane in between";
    /// The planes are two minor versions apart.
    SkewWide = "RS2014", "read the upgrade notes of the version in between, too";
    /// The target is older than the source.
    Downgrade = "RS2015", "make sure that nothing uses what the older version does not know";
    /// The planes have different roots of trust.
    RootsDiffer = "RS2020", "give both planes the same root certificate first";
    /// A plane's root of trust is not known.
    RootUnknown = "RS2021", "compare the planes' root certificates by hand";
    /// The planes have different trust domains.
    TrustDomainsDiffer = "RS2022", "set the same trustDomain, or list the other as an alias";
    /// The planes have different mesh ids.
    MeshesDiffer = "RS2023", "set the same meshID";
    /// The planes have different networks.
    NetworksDiffer = "RS2024", "set the same network";
    /// The planes have different cluster ids.
    ClusterIdsDiffer = "RS2025", "set the same cluster id";
    /// A setting of the mesh configuration differs.
    MeshSettingsDiffer = "RS2026", "make sure that the difference is meant";
    /// A plane's mesh configuration was not found.
    MeshUnknown = "RS2027", "compare the planes' mesh configurations by hand";
    /// The injector was not asked about everything, or not all that it says was compared with what runs.
    TrialImpossible = "RS2028", "see the message; run revshift-server where istiod's Service can be reached";
    /// The CNI plugin is needed and not there.
    CniMissing = "RS2030", "install istio-cni before namespaces move";
    /// The CNI plugin is not ready on all nodes.
    CniDegraded = "RS2031", "mend the DaemonSet";
    /// The only CNI plugin belongs to the source.
    CniOwned = "RS2032", "install one that belongs to the target before the source is retired";
    /// A rollout made no progress for too long.
    RolloutStalled = "RS3001", "look at the workload's pods and events, mend it, then retry";
    /// The Deployment's own progress deadline has passed.
    RolloutDeadline = "RS3002", "look at the workload's pods and events, mend it, then retry";
    /// An image cannot be pulled.
    ImagePull = "RS3003", "mend the image's name or the access to it, then retry";
    /// A container crashes again and again.
    CrashLoop = "RS3004", "read the container's log, mend it, then retry or roll back";
    /// A pod runs and does not become ready.
    NotReady = "RS3005", "look at its readiness probe and its log, then retry or roll back";
    /// A quota or limit forbids new pods.
    QuotaExceeded = "RS3006", "raise the quota, then retry";
    /// An admission policy forbids new pods.
    AdmissionDenied = "RS3007", "mend the workload or the policy, then retry";
    /// An injector webhook does not answer.
    WebhookUnreachable = "RS3008", "mend the target's istiod or its webhook, then retry or roll back";
    /// No node takes a pod.
    Unschedulable = "RS3009", "make room in the cluster, then retry";
    /// A pod that should be injected has no sidecar.
    InjectionMissing = "RS3010", "look why the target's webhook passed it over, then retry";
    /// A pod was injected by another plane than the target.
    InjectedByOther = "RS3011", "look which webhook injected it, then retry";
    /// Somebody took the restart back.
    RestartReverted = "RS3012", "let its owner restart it, or scale it to two replicas or pass --allow-downtime: then its pods are evicted";
    /// A PodDisruptionBudget forbids the eviction of a pod.
    DisruptionBudget = "RS3013",
        "mend the pods that the budget counts, or raise what it allows, then retry";
    /// A container of a new pod restarts now and then.
    PodsRestart = "RS3014", "read the log of the container's last run, mend it, then retry or roll back";
    /// A Service has fewer ready endpoints than before.
    EndpointsMissing = "RS3015",
        "compare the Service's selector with the pods' labels; a retry takes what is there then as enough";
    /// The controller of an Argo Rollout has not done the restart that it was asked for.
    RestartPending = "RS3020",
        "look whether the Rollouts controller runs, and at the budgets of its pods, then retry";
    /// A pod was injected by the target, and is not connected to its istiod.
    ProxyNotConnected = "RS3101",
        "read the log of the pod's istio-proxy, look whether it reaches the target's istiod, then retry";
    /// A pod was injected by the target, and is connected to the source's istiod.
    ProxyOnSource = "RS3102",
        "look where the pod's discoveryAddress leads (annotation proxy.istio.io/config), then retry";
    /// A pod rejects the configuration that the target's istiod has for it.
    ConfigurationRejected = "RS3103",
        "mend the Istio resource or the EnvoyFilter that the message tells of, then retry or roll back";
    /// A pod does not acknowledge the configuration that the target's istiod has for it.
    ConfigurationPending = "RS3104",
        "look at the load of the target's istiod and at the log of the pod's istio-proxy, then retry";
    /// The istiods of the target cannot all be asked who is connected to them.
    IstiodUnreachable = "RS3105",
        "name every replica's monitoring address in the server's configuration (istiods), then retry; or \
         migrate with --verify injected";
    /// The namespace's labels are neither those before nor those after.
    LabelDrift = "RS4001", "find out who changed it; set the label as planned, then retry";
    /// Another unfinished migration locks the namespace.
    NamespaceLocked = "RS4002", "wait for that migration, then retry";
    /// Kubernetes refuses revshift's own account.
    PermissionDenied = "RS4003", "grant revshift's account what deploy/ lists, then retry";
    /// Kubernetes refused a write for a reason that repeating does not mend.
    WriteRefused = "RS4004", "see the message; mend the cause, then retry";
    /// revshift's own account lacks a right.
    PermissionMissing = "RS4005", "grant revshift's account what deploy/ lists";
    /// Something that checks look at could not be read.
    CheckIncomplete = "RS4006", "see the message; grant revshift's account what deploy/ lists, then check again";
    /// The target's validator refuses a resource.
    ConfigurationRefused = "RS5001", "mend the resource, or remove it";
    /// The target's validator warns of a resource.
    ConfigurationWarned = "RS5002", "see the warning";
    /// istiod's analysis has noted something.
    AnalysisMessage = "RS5003", "see the explanation of the code in Istio's documentation";
    /// An EnvoyFilter is tied to a version of the proxy.
    FilterTiedToVersion = "RS5004", "check the filter's proxyVersion against the target's version";
    /// A resource is written in an old API version.
    ApiDeprecated = "RS5005", "write it in v1 where its owner keeps it";
    /// An annotation is deprecated.
    AnnotationDeprecated = "RS5006", "replace the annotation";
    /// A resource is read by another plane only.
    ResourcePinned = "RS5007", "label it for the target, or take its label istio.io/rev away";
    /// A resource names what does not exist.
    ReferenceBroken = "RS5008", "mend the reference, or create what it names";
    /// The validator could not be asked.
    ValidationImpossible = "RS5009", "run revshift-server where istiod's Service can be reached, and see the message";
    /// A PASSIVE plane, or one whose istiod runs elsewhere, is not retired from here.
    PlaneProtected = "RS6001", "retire it in the cluster that runs it";
    /// No other plane could take over.
    PlaneLast = "RS6002", "install another plane, and wait until `revshift planes` shows it Available";
    /// The labels of a namespace lead to the plane.
    UsedByNamespace = "RS6003", "move it with `revshift migrate`";
    /// A tag leads to the plane.
    UsedByTag = "RS6004", "move the tag to another revision, or remove it";
    /// Unfinished pods were injected by the plane.
    UsedByPods = "RS6005", "restart what makes them";
    /// A gateway is the plane's.
    UsedByGateway = "RS6006", "move the gateway to another plane";
    /// The pod template of a workload, Job or CronJob names the plane.
    UsedByTemplate = "RS6007", "name another revision in its pod template";
    /// The default injector webhook is the plane's.
    UsedAsDefault = "RS6008", "make another revision the default";
    /// The default validator is the plane's.
    UsedAsValidator = "RS6009", "make another revision the default, which moves the validator, too";
    /// The only CNI is the plane's, and other planes may need it.
    UsedAsCni = "RS6010", "install the CNI on its own, or allow this when no other plane uses it";
    /// A migration that has not ended names the plane.
    UsedByMigration = "RS6011", "wait until it has ended, or cancel it";
    /// A migration that has ended may still be rolled back to the plane.
    RollbackWindow = "RS6012", "wait until the window is over, or choose another with --rollback-window";
    /// A WorkloadGroup or WorkloadEntry names the plane.
    UsedByMachine = "RS6013", "name another revision there, and restart the proxy on its machine";
    /// A proxy is connected to the plane.
    UsedByProxy = "RS6014", "restart what it belongs to";
    /// It is not known which proxies are connected to the plane.
    ConnectionsUnknown = "RS6015",
        "tell the server how to reach every replica of its istiod, or allow this with --allow RS6015=REASON";
    /// Nothing keeps new users of the plane away while it is proved to be unused.
    CordonMissing = "RS6016", "apply deploy/retirement.yaml, which has the admission policy";
    /// Something that may use the plane cannot be read.
    CensusIncomplete = "RS6017", "see the message; grant revshift's account what deploy/ lists, or mend the API";
    /// revshift's account may not delete the plane.
    DeletionForbidden = "RS6018", "bind the ClusterRole revshift-retirer of deploy/retirement.yaml to it";
    /// The operator that has to delete the plane does not seem to run.
    OperatorSilent = "RS6019",
        "start the operator of the plane's version, or allow this with --allow RS6019=REASON when it runs";
    /// The deletion of the plane does not come to its end.
    DeletionStuck = "RS6020", "look at the log of the plane's operator; the retirement goes on when it has ended";
    /// The deletion of the plane was refused.
    DeletionRefused = "RS6021", "see the message; mend the cause, and it is tried again";
    /// Something of the plane is still there after its deletion.
    PlaneRemains = "RS6022", "look who keeps it, and delete it; the retirement goes on then, or cancel it where the plane was made anew";
    /// The CNI that other planes need is not ready.
    CniNotReady = "RS6023", "look at its pods; the retirement ends when they are ready";
    /// An operator's parent resource would make the plane anew.
    PlaneActive = "RS6024", "have its Istio use another version first, or delete the Istio";
    /// The plane is not the one any more that the retirement was made for.
    PlaneReplaced = "RS6025", "cancel the retirement; retire the new plane with another one";
    /// A retirement of a plane of the migration has not ended.
    PlaneRetiring = "RS6026", "wait until it has ended, or cancel it with `revshift retire REV --cancel`";
    /// A webhook that is not the plane's own calls a Service of the plane.
    UsedByWebhook = "RS6027", "have it call the Service of another plane, or delete it";
    /// A GitOps controller manages the plane, and may make it anew.
    PlaneKept = "RS6028",
        "take it out of what is synchronised, then allow this with --allow RS6028=REASON while the mark is left";
    /// A release of Helm's goes on to list what is deleted.
    HelmRelease = "RS6029", "uninstall the release afterwards";
}

/// What is wrong with a move.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// What kind of problem.
    pub code: Code,
    /// The object, as `kind/name` or `kind/namespace/name`.
    pub object: String,
    /// What happened.
    pub message: String,
    /// Field manager that caused it; none when unknown.
    pub manager: Option<String>,
    /// When it was found.
    pub since: Timestamp,
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn codes_are_unique_well_formed_and_have_a_remedy() {
        let texts: BTreeSet<&str> = Code::ALL.iter().map(|code| code.as_str()).collect();
        assert_eq!(texts.len(), Code::ALL.len());
        for code in Code::ALL {
            let digits = code.as_str().strip_prefix("RS").unwrap_or_default();
            assert!(digits.len() == 4 && digits.bytes().all(|b| b.is_ascii_digit()), "{code:?}");
            assert!(!code.remedy().is_empty() && !code.remedy().ends_with('.'), "{code:?}");
            assert_eq!(Code::parse(code.as_str()), Some(*code));
        }
    }
}
