# What the cluster needs before Argo CD can bring the site. Everything else is Argo CD's.

locals {
  charts = {
    argo-cd = {
      repository = "https://argoproj.github.io/argo-helm"
      namespace  = "argocd"
      values = {
        global = { domain = var.argocd_host }
        configs = {
          cm = {
            "admin.enabled"                      = false
            "exec.enabled"                       = false
            "application.resourceTrackingMethod" = "annotation"
          }
          # Who is not named in a policy may do nothing, not even look.
          rbac = { "policy.default" = "" }
        }
        controller    = { metrics = { enabled = true } }
        notifications = { enabled = false }
      }
    }
    keda = {
      repository = "https://kedacore.github.io/charts"
      namespace  = "keda"
      values     = { resources = { operator = { requests = { cpu = "100m", memory = "128Mi" } } } }
    }
    external-secrets = {
      repository = "https://charts.external-secrets.io"
      namespace  = "external-secrets"
      values     = { installCRDs = true }
    }
    kube-prometheus-stack = {
      repository = "https://prometheus-community.github.io/helm-charts"
      namespace  = "monitoring"
      values = {
        # The chart's monitors carry this label; nothing else is scraped.
        fullnameOverride = "prometheus"
        prometheus = {
          prometheusSpec = {
            podMonitorSelector          = { matchLabels = { release = "prometheus" } }
            podMonitorNamespaceSelector = {}
            ruleSelector                = { matchLabels = { release = "prometheus" } }
            ruleNamespaceSelector       = {}
          }
        }
      }
    }
  }
}

resource "helm_release" "this" {
  for_each         = local.charts
  name             = each.key
  repository       = each.value.repository
  chart            = each.key
  version          = var.versions[each.key]
  namespace        = each.value.namespace
  create_namespace = true
  # A release that does not come up is taken back as a whole.
  atomic  = true
  timeout = 900
  values  = [yamlencode(each.value.values)]
}
