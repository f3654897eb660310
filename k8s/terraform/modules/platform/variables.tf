variable "argocd_host" {
  description = "Name at which Argo CD is reached."
  type        = string
  validation {
    condition     = can(regex("^[a-z0-9.-]+\\.[a-z]{2,}$", var.argocd_host))
    error_message = "argocd_host: a host name such as argocd.example.org."
  }
}

variable "versions" {
  description = "Versions of the charts, exact: an upgrade is a change of this file."
  type        = map(string)
  default = {
    argo-cd               = "9.5.4"
    keda                  = "2.17.2"
    external-secrets      = "2.2.0"
    kube-prometheus-stack = "79.5.0"
  }
  validation {
    condition     = alltrue([for one in values(var.versions) : can(regex("^[0-9]+\\.[0-9]+\\.[0-9]+$", one))])
    error_message = "versions: exact ones only, such as 9.5.4."
  }
}
