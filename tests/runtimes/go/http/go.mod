// SPDX-License-Identifier: GPL-2.0

module http

go 1.21
