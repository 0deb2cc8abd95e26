# Put before every key of a pod's stages.
# What a pod's labels make fail: the label `fails`, unless `fails-on` names another revision than
# the one that the pod was injected by.
def failure:
  .metadata.annotations["istio.io/rev"] as $revision
  | .metadata.labels
  | select(.["bed.revshift.dev/fails-on"] | . == null or . == $revision)
  | .["bed.revshift.dev/fails"];
# How many seconds after its start a pod is ready.
def ready_after: .metadata.labels["bed.revshift.dev/ready-after"];
def ready: any(.status.conditions[]?; .type == "Ready" and .status == "True");
