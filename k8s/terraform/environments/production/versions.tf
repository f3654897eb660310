terraform {
  required_version = "~> 1.11"
  # Versions are exact in .terraform.lock.hcl, which `terraform init` writes and which is committed
  # for every platform that operators and CI use:
  #   terraform providers lock -platform=linux_amd64 -platform=linux_arm64 -platform=darwin_arm64
  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = "~> 6.20"
    }
    azurerm = {
      source  = "hashicorp/azurerm"
      version = "~> 4.57"
    }
    helm = {
      source  = "hashicorp/helm"
      version = "~> 3.1"
    }
  }

  # Bucket and region come with: terraform init -backend-config=backend.hcl
  backend "s3" {
    key          = "tumorsite/production.tfstate"
    encrypt      = true
    use_lockfile = true
  }
}
