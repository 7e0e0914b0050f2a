// Package system tests certlatch on whole hosts: a real systemd, a real
// nginx, a real certbot and a real ACME server, booted afresh for every
// scenario in testdata/script. A new scenario is a new txtar file there; the
// words it may use are the table in script_test.go and those of
// [testscript]. The scenarios in testdata/packages are about certlatch as its
// packages install it, on each Debian that packages_test.go names for them. Those in
// its directory hosts play the first hour with certlatch on the hosts that people have:
// what the operator does there is said by operator and edit, and counted.
//
// BenchmarkTable measures on such hosts what certlatch promises of speed; make
// bench runs it.
//
// The tests need root, mmdebstrap and systemd-nspawn, and are skipped without
// them, unless CI=true says that they must run. They do not promise anything
// about other distributions than the Debians that the recipes here name, nor
// about kernels: the hosts share that of the machine. Each has a control group of
// its own, but where the machine does not allow that; then the log says so, and
// systemctl kill --signal=KILL kills the unit of all hosts that are up.
//
// [testscript]: https://pkg.go.dev/github.com/rogpeppe/go-internal/testscript
package system
