variable "name" {
  description = "What every object of the cluster is named after."
  type        = string
  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{2,30}[a-z0-9]$", var.name))
    error_message = "name: 4 to 32 small letters, digits and hyphens, a letter first."
  }
}

variable "location" {
  description = "Region of Azure; it must offer the GPU size."
  type        = string
}

variable "kubernetes_version" {
  description = "Minor version; patches are taken by themselves."
  type        = string
  validation {
    condition     = can(regex("^1\\.[0-9]{2}$", var.kubernetes_version))
    error_message = "kubernetes_version: a minor version such as 1.33; patches are taken by themselves."
  }
}

variable "operators" {
  description = "Groups of Entra ID whose members administer the cluster."
  type        = list(string)
  validation {
    condition     = length(var.operators) > 0 && alltrue([for one in var.operators : can(regex("^[0-9a-f-]{36}$", one))])
    error_message = "operators: at least one group, by its object id. Without one nobody could enter the cluster."
  }
}

variable "api_addresses" {
  description = "Networks from which the Kubernetes API may be reached."
  type        = list(string)
  validation {
    condition     = length(var.api_addresses) > 0 && alltrue([for one in var.api_addresses : can(cidrhost(one, 0)) && !endswith(one, "/0")])
    error_message = "api_addresses: at least one network in CIDR form, and never the whole internet."
  }
}

variable "network" {
  description = "Address space of the nodes."
  type        = string
  default     = "10.40.0.0/16"
  validation {
    condition     = can(cidrhost(var.network, 0)) && try(tonumber(split("/", var.network)[1]) <= 20, false)
    error_message = "network: CIDR form, /20 or wider."
  }
}

variable "cpu" {
  description = "Nodes of site and workers."
  type = object({
    size = optional(string, "Standard_D4ds_v5")
    min  = optional(number, 2)
    max  = optional(number, 10)
  })
  default = {}
  validation {
    condition     = var.cpu.min >= 1 && var.cpu.max >= var.cpu.min
    error_message = "cpu: min is 1 or more, max not below min."
  }
}

variable "gpu" {
  description = "Nodes with graphics processors. There is none while nothing asks for one."
  type = object({
    size = optional(string, "Standard_NC4as_T4_v3")
    max  = optional(number, 1)
    spot = optional(bool, false)
  })
  default = {}
  validation {
    condition     = var.gpu.max >= 0 && var.gpu.max <= 50
    error_message = "gpu.max: 0 to 50; each one costs money from its first minute."
  }
}

variable "log_days" {
  description = "Days for which the control plane's logs are kept."
  type        = number
  default     = 30
  validation {
    condition     = var.log_days >= 30 && var.log_days <= 730
    error_message = "log_days: 30 to 730."
  }
}

variable "tags" {
  description = "Tags of every object."
  type        = map(string)
  default     = {}
}
