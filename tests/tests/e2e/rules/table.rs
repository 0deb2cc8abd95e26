//! The table. A proof is a test, as `place/file::test`, or the code of a finding, which a table of the core
//! provokes alone.

/// Subject, rule, and what shows it.
pub(super) const RULES: &[(&str, &str, &[&str])] = &[
    // Which webhook injects a pod (istiod's chart: mutatingwebhook.yaml, revision-tags-mwc.yaml).
    (
        "injection",
        "a pod labelled sidecar.istio.io/inject=false gets nothing",
        &["core/injection::a_pod_that_forbids_injection_gets_none", MATRIX],
    ),
    (
        "injection",
        "istio-injection=enabled means the default plane, whatever istio.io/rev says",
        &[
            "core/injection::istio_injection_enabled_means_the_default_and_hides_the_revision_label",
            MATRIX,
        ],
    ),
    (
        "injection",
        "any other value of istio-injection means none",
        &["core/injection::any_other_value_of_istio_injection_means_none", MATRIX],
    ),
    (
        "injection",
        "a namespace's istio.io/rev names a revision or a tag, and hides that of its pods",
        &[
            "core/injection::a_namespace_label_hides_pod_labels",
            "core/injection::a_tag_leads_to_its_revision",
            MATRIX,
            "RS1111",
        ],
    ),
    (
        "injection",
        "a label that no webhook serves leaves pods without a sidecar, and nobody is told",
        &[
            "core/injection::a_label_that_no_webhook_serves_dangles",
            "scenarios/explain::a_namespace_is_explained_pod_by_pod",
            "RS1010",
        ],
    ),
    (
        "injection",
        "in a namespace without labels a pod's own istio.io/rev decides",
        &["core/injection::in_an_unlabelled_namespace_the_pod_decides", MATRIX],
    ),
    (
        "injection",
        "in a namespace without labels a pod that asks gets the default plane",
        &["core/injection::in_an_unlabelled_namespace_the_pod_decides", MATRIX],
    ),
    (
        "injection",
        "without any label there is none, or where everything is injected the default plane, except in the \
         namespaces of Kubernetes",
        &[MATRIX],
    ),
    (
        "injection",
        "pods of the node's network, and those with the annotation of old, get none",
        &["core/injection::host_network_and_the_legacy_annotation_forbid_injection", "RS1110"],
    ),
    (
        "injection",
        "the tag default is the default plane, else the default validator's label names it",
        &[
            "core/tag::the_default_plane_is_the_tags_then_the_validators",
            "scenarios/tags::planes_tell_tags_and_the_default",
        ],
    ),
    (
        "injection",
        "a webhook that nobody answers keeps pods from being created",
        &["scenarios/blockages::a_webhook_that_is_down_fails_the_move", "RS2009", "RS2010"],
    ),
    (
        "injection",
        "the webhooks of two planes may take the same pod",
        &["core/injection::two_planes_that_both_match_are_a_conflict", "RS1011"],
    ),
    // Calisti's webhooks (istio-operator, istio-discovery's templates).
    (
        "calisti",
        "a plane is named by its resource's name and namespace, and injects by that alone",
        &["core/injection::calisti_planes_have_no_default"],
    ),
    (
        "calisti",
        "an operator that is gone leaves a status that does not change any more",
        &[
            "RS2005",
            "RS6019",
            "core/retirement::an_operator_that_does_not_follow_labels_is_not_trusted",
        ],
    ),
    (
        "calisti",
        "a deletion without its operator hangs on the finalizer",
        &["simulated/retirement::a_finalizer_that_hangs_is_named_and_left"],
    ),
    (
        "calisti",
        "a peer that is the source of the labels puts them back",
        &["scenarios/gitops::what_another_cluster_decides_on_is_refused", "RS2004"],
    ),
    ("calisti", "an IstioMeshGateway goes by its own resource", &["RS1404"]),
    // What other validators look at.
    ("analysis", "deprecated fields and versions", &["RS5005", "RS5002"]),
    ("analysis", "deprecated annotations", &["RS5006"]),
    (
        "analysis",
        "references that do not resolve",
        &["RS5008", "core/finding::hosts_are_found_by_any_of_their_names"],
    ),
    ("analysis", "what the schema refuses or warns of", &["RS5001", "RS5002"]),
    (
        "analysis",
        "a namespace that is not injected, or a pod without a proxy, in namespaces of every label",
        &[
            "scenarios/namespaces::a_namespace_without_injection_says_why",
            "scenarios/explain::a_namespace_is_explained_pod_by_pod",
        ],
    ),
    ("analysis", "several labels of injection that disagree", &["RS1011", MATRIX]),
    ("analysis", "an injector whose Service is not there", &["RS2010"]),
    (
        "analysis",
        "proxies older than the injector, of tags and of Calisti's revisions, too",
        &["RS1123"],
    ),
    ("analysis", "a gateway's image that only injection gives", &["RS1401", "RS1120"]),
    (
        "analysis",
        "an EnvoyFilter that may not apply during an upgrade",
        &["RS5004", "core/finding::a_filter_is_judged_by_the_versions_of_both_planes"],
    ),
    ("analysis", "what istiod's own analysis has written", &["RS5003"]),
    ("analysis", "settings that an upgrade changes", &["RS2026"]),
    ("analysis", "rights", &["RS4005", "RS4003"]),
    // Versions.
    ("versions", "more than two minor versions are an error", &["RS2013"]),
    ("versions", "two minor versions are warned of", &["RS2014"]),
    ("versions", "an older target is warned of", &["RS2015"]),
    ("versions", "a version that nothing tells is told", &["RS2012"]),
    // What is looked at before a migration.
    (
        "before",
        "the target exists and is Available",
        &["scenarios/blockages::a_plane_that_is_not_available_takes_nothing", "RS2001", "RS2002"],
    ),
    ("before", "its operator is alive", &["RS2005"]),
    ("before", "istiod has two ready replicas and room", &["RS2006", "RS2007", "RS2008"]),
    ("before", "the webhooks are trusted and served", &["RS2009", "RS2010", "RS2011"]),
    (
        "before",
        "labels resolve to one webhook now and afterwards",
        &["RS1010", "RS1011", "RS2003", "RS1012"],
    ),
    ("before", "no pods with labels of their own", &["RS1111", "RS1112"]),
    (
        "before",
        "every template is tried at the target's injector",
        &[
            "scenarios/findings/trials::the_injector_is_asked_about_every_template",
            "RS1120",
            "RS1121",
            "RS1122",
            "RS1123",
            "RS1124",
            "RS1125",
            "RS1126",
            "RS1127",
            "RS2028",
        ],
    ),
    (
        "before",
        "both planes trust the same, and are of one mesh",
        &["RS2020", "RS2021", "RS2022", "RS2023", "RS2024", "RS2025"],
    ),
    ("before", "mesh configurations are compared", &["RS2026", "RS2027", "RS1013"]),
    (
        "before",
        "workloads at risk",
        &[
            "scenarios/findings::a_check_tells_what_is_at_risk_and_touches_nothing",
            "RS1101",
            "RS1102",
            "RS1103",
            "RS1107",
            "RS1113",
            "RS1114",
            "RS1115",
            "RS1116",
            "RS1117",
            "RS1118",
        ],
    ),
    (
        "before",
        "bare pods, Jobs, CronJobs and the node's network",
        &["scenarios/leftovers::leftovers_are_told_and_left", "RS1104", "RS1110"],
    ),
    (
        "before",
        "workloads that somebody else writes or that are not known",
        &[
            "RS1105",
            "RS1106",
            "RS1108",
            "scenarios/evictions::a_restart_that_is_taken_back_becomes_evictions",
        ],
    ),
    (
        "before",
        "labels that GitOps keeps",
        &["scenarios/gitops::a_label_kept_by_gitops_is_waited_for", "RS1007"],
    ),
    ("before", "gateways of every kind", &["RS1401", "RS1402", "RS1403", "RS1404"]),
    (
        "before",
        "the CNI",
        &[
            "RS2030",
            "RS2031",
            "RS2032",
            "server/kube/cni::agents_are_known_by_the_labels_of_either_make_and_by_what_they_mount",
        ],
    ),
    ("before", "revshift's own rights", &["RS4005", "RS4006"]),
    (
        "before",
        "resources are sent to the target's validator",
        &[
            "scenarios/findings/configuration::configuration_is_read_as_the_target_would",
            "RS5001",
            "RS5009",
        ],
    ),
    // What no other tool does.
    (
        "afterwards",
        "a plane is deleted only when nothing uses it, and what does is named",
        &[
            "simulated/retirement::every_user_is_found_and_named",
            "scenarios/retirements::a_used_plane_is_refused_and_an_unused_one_retired",
            "scenarios/retirements::the_old_plane_goes_once_everything_has_moved",
            "real/retirement::a_plane_goes_with_its_istiod_and_its_proxies",
        ],
    ),
    (
        "afterwards",
        "who is still on the old plane, and why",
        &[
            "scenarios/explain::a_namespace_is_explained_pod_by_pod",
            "scenarios/explain/kept::what_keeps_a_pod_where_it_is_is_told",
            "scenarios/explain/injectors::the_webhooks_of_the_day_are_told",
            "core/explain::pods_that_nobody_restarts_are_told_apart",
            "core/explain::what_keeps_a_workload_from_replacing_its_pods_is_told",
        ],
    ),
    (
        "afterwards",
        "the webhook that would match after a relabelling is named before it",
        &["core/explain::other_labels_are_foreseen_webhook_by_webhook"],
    ),
    (
        "afterwards",
        "proxies are connected to the target, as its istiods say",
        &[
            "scenarios/connections::a_namespace_counts_as_moved_once_it_is_connected",
            "scenarios/connections::a_pod_that_is_not_connected_fails_the_move",
            "scenarios/connections::an_istiod_that_cannot_be_asked_blocks_the_move",
            "server/proxies/tests::a_token_goes_only_to_who_wants_one",
        ],
    ),
    (
        "afterwards",
        "every controller's pods are replaced in its own way",
        &[
            "scenarios/kinds::every_kind_is_replaced_pod_by_pod_once",
            "scenarios/rollouts::a_rollout_is_restarted_by_its_own_controller",
            "scenarios/evictions::what_does_not_roll_is_evicted_pod_by_pod",
        ],
    ),
    (
        "afterwards",
        "a failure goes back alone or with its wave, to the labels that were",
        &[
            "scenarios/recourse::a_failed_namespace_goes_back_by_itself",
            "scenarios/recourse::a_failed_wave_goes_back_by_itself",
        ],
    ),
    (
        "afterwards",
        "a tag that moves stops what rests on it",
        &["scenarios/tags::a_tag_that_moves_pauses_the_migration", "RS1501", "RS1502"],
    ),
];

/// The rows above, for any kind of default plane.
const MATRIX: &str = "core/injection::the_matrix_holds_for_every_kind_of_default";

/// Findings that no story provokes, and why; the core's tables do.
pub(super) const UNTOLD: &[(&str, &str)] = &[
    ("RS1105", "a controller that is not known"),
    ("RS1115", "the API server admits it of Rollouts alone, whose strategy is another one"),
    ("RS2002", "a plane that goes takes its webhooks with it, which is told as drift before"),
    ("RS3002", "a Deployment's own deadline, where nothing tells why"),
    ("RS3014", "containers that restart now and then"),
    ("RS3020", "a controller of Rollouts that does nothing"),
    ("RS4002", "two migrations that are stored in the same moment"),
];
