# Two roles, which pods take with the token of their service account. Neither has a key, and neither
# can do more than its half of the work:
#   site      reads and writes its own prefixes
#   training  reads data sets, writes networks and its checkpoints; never sees a scan

resource "aws_iam_openid_connect_provider" "cluster" {
  url            = var.issuer
  client_id_list = ["sts.amazonaws.com"]
}

locals {
  issuer = trimsuffix(trimprefix(var.issuer, "https://"), "/")
  # The parts of the chart that touch the bucket; beat and migrate do not.
  accounts = {
    site     = ["web", "inference-cpu", "inference-gpu", "general", "shadow", "register"]
    training = ["training"]
  }
  policies = {
    site     = data.aws_iam_policy_document.site.json
    training = data.aws_iam_policy_document.training.json
  }
}

data "aws_iam_policy_document" "trust" {
  for_each = local.accounts
  statement {
    sid     = "PodsOfTheChart"
    actions = ["sts:AssumeRoleWithWebIdentity"]
    principals {
      type        = "Federated"
      identifiers = [aws_iam_openid_connect_provider.cluster.arn]
    }
    condition {
      test     = "StringEquals"
      variable = "${local.issuer}:aud"
      values   = ["sts.amazonaws.com"]
    }
    condition {
      test     = "StringEquals"
      variable = "${local.issuer}:sub"
      values   = [for part in each.value : "system:serviceaccount:${var.namespace}:${var.release}-${part}"]
    }
  }
}

data "aws_iam_policy_document" "site" {
  # "health" holds what /health/ writes, reads and removes to see that the store works.
  statement {
    sid       = "OwnObjects"
    actions   = ["s3:GetObject", "s3:PutObject", "s3:DeleteObject"]
    resources = [for prefix in ["scans", "media", "models", "health"] : "arn:aws:s3:::${var.site_bucket}/${prefix}/*"]
  }
  # Beat's sweep removes the checkpoints of runs that are over.
  statement {
    sid       = "TidyCheckpoints"
    actions   = ["s3:DeleteObject"]
    resources = ["arn:aws:s3:::${var.site_bucket}/training/*"]
  }
  # The whole bucket: asking for an object that is not there says so only to who may list.
  statement {
    sid       = "ListOwn"
    actions   = ["s3:ListBucket"]
    resources = ["arn:aws:s3:::${var.site_bucket}"]
  }
  # Which data sets there are, to start a training when one is new.
  statement {
    sid       = "NamesOfData"
    actions   = ["s3:GetObject"]
    resources = ["arn:aws:s3:::${var.data_bucket}/${var.data_prefix}/names/*"]
  }
  statement {
    sid       = "Key"
    actions   = ["kms:Decrypt", "kms:GenerateDataKey"]
    resources = [var.key]
  }
}

data "aws_iam_policy_document" "training" {
  statement {
    sid       = "ReadData"
    actions   = ["s3:GetObject"]
    resources = ["arn:aws:s3:::${var.data_bucket}/${var.data_prefix}/*"]
  }
  statement {
    sid       = "ListData"
    actions   = ["s3:ListBucket"]
    resources = ["arn:aws:s3:::${var.data_bucket}"]
  }
  # The network in production is read for the comparison. What is written stays as it was written.
  statement {
    sid       = "WriteNetworks"
    actions   = ["s3:GetObject", "s3:PutObject"]
    resources = ["arn:aws:s3:::${var.site_bucket}/models/*"]
  }
  # A registration begins anew by removing the list of files, which is written last; a measurement
  # by removing the results of one before that could not be read.
  statement {
    sid       = "BeginAnew"
    actions   = ["s3:DeleteObject"]
    resources = [for which in ["SHA256SUMS", "results/*"] : "arn:aws:s3:::${var.site_bucket}/models/*/${which}"]
  }
  statement {
    sid       = "Checkpoints"
    actions   = ["s3:GetObject", "s3:PutObject", "s3:DeleteObject"]
    resources = ["arn:aws:s3:::${var.site_bucket}/training/*"]
  }
  # Names under these two only, no scan's.
  statement {
    sid       = "ListNetworks"
    actions   = ["s3:ListBucket"]
    resources = ["arn:aws:s3:::${var.site_bucket}"]
    condition {
      test     = "StringLike"
      variable = "s3:prefix"
      values   = ["models/*", "training/*"]
    }
  }
  statement {
    sid       = "Key"
    actions   = ["kms:Decrypt", "kms:GenerateDataKey"]
    resources = [var.key]
  }
}

resource "aws_iam_role" "this" {
  for_each             = local.accounts
  name                 = "${var.name}-${each.key}"
  assume_role_policy   = data.aws_iam_policy_document.trust[each.key].json
  max_session_duration = 3600
}

resource "aws_iam_role_policy" "this" {
  for_each = local.policies
  name     = each.key
  role     = aws_iam_role.this[each.key].id
  policy   = each.value
}
