# The environment "production": a cluster of its own, buckets and roles of its own.

locals {
  name = "tumorsite-production"
  tags = { project = "tumorsite", environment = "production", managed-by = "terraform" }
}

provider "azurerm" {
  subscription_id = var.subscription
  features {}
}

provider "aws" {
  region              = var.region
  allowed_account_ids = [var.account]
  default_tags {
    tags = local.tags
  }
}

# With the operator's own sign-in: the cluster has no local accounts whose key could be kept.
provider "helm" {
  kubernetes = {
    host                   = module.cluster.host
    cluster_ca_certificate = base64decode(module.cluster.certificate_authority)
    exec = {
      api_version = "client.authentication.k8s.io/v1"
      command     = "kubelogin"
      args        = ["get-token", "--login", "azurecli", "--server-id", "6dae42f8-4368-4678-94ff-3960e28e3630"]
    }
  }
}

module "cluster" {
  source             = "../../modules/cluster"
  name               = local.name
  location           = var.location
  kubernetes_version = "1.33"
  operators          = var.operators
  api_addresses      = var.api_addresses
  network            = "10.50.0.0/16"
  cpu                = { min = 3, max = 20 }
  gpu                = { max = 4, spot = false }
  tags               = local.tags
}

module "platform" {
  source      = "../../modules/platform"
  argocd_host = var.argocd_host
  depends_on  = [module.cluster]
}

module "buckets" {
  source   = "../../modules/buckets"
  name     = local.name
  site_url = "https://tumorsite.example"
}

module "identities" {
  source      = "../../modules/identities"
  name        = local.name
  issuer      = module.cluster.issuer
  site_bucket = module.buckets.site
  data_bucket = module.buckets.data
  key         = module.buckets.key
}
