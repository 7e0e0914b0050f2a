package deployers

import (
	"fmt"
	"path"
	"slices"
	"strings"
)

// Credential is what systemd reads as root and hands to a unit (systemd.exec(5),
// LoadCredential=, LoadCredentialEncrypted=, ImportCredential=).
type Credential struct {
	ID        string // what the service finds it as; of what is imported, a glob
	Path      string // a file, or a directory of them; relative: in one of systemd's stores
	Imported  bool   // whatever fits ID, from the stores
	Renamed   string // of what is imported: what stands in place of ID, but for a * at its end; empty: nothing does
	Encrypted bool   // systemd decrypts it
}

// Where systemd looks for credentials that are named without a path
// (systemd.exec(5), ImportCredential=), and where it puts those of a unit.
const (
	store          = "/credstore"
	encryptedStore = "/credstore.encrypted"
	handedOver     = "/run/credentials"
)

// stores are the directories that stores are in (systemd.exec(5),
// ImportCredential=).
var stores = []string{"/etc", "/run", "/usr/local/lib", "/usr/lib"}

// handsOver returns where the unit's processes find a file that systemd reads for
// them; empty: they read it themselves.
func (u Unit) handsOver(file string) string {
	if id, _ := u.credential(file); id != "" {
		return path.Join(handedOver, u.Name, id)
	}
	return ""
}

// credential returns the ID of the credential that systemd makes of a file; empty:
// it makes none.
func (u Unit) credential(file string) (id string, encrypted bool) {
	for _, c := range u.Credentials {
		if id, is := c.of(file); is {
			return id, c.Encrypted || path.Base(path.Dir(file)) == path.Base(encryptedStore)
		}
	}
	return "", false
}

// of returns the ID under which a file is handed over, and reports whether it is.
func (c Credential) of(file string) (id string, is bool) {
	name := path.Base(file)
	switch {
	case c.Imported:
		fits, err := path.Match(c.ID, name)
		return c.renamed(name), err == nil && fits && inStore(file)
	case !path.IsAbs(c.Path):
		return c.ID, name == c.Path && inStore(file)
	case file == path.Clean(c.Path):
		return c.ID, true
	}
	// Those of a directory are called by its ID and their path in it
	// (systemd.exec(5), LoadCredential=).
	rest, below := strings.CutPrefix(file, path.Clean(c.Path)+"/")
	return c.ID + "_" + strings.ReplaceAll(rest, "/", "_"), below
}

// renamed returns what a credential that is imported is called then: by its own name, or
// as the rename pattern has it (systemd.exec(5) of 257, ImportCredential=).
func (c Credential) renamed(name string) string {
	if c.Renamed == "" {
		return name
	}
	return c.Renamed + name[min(len(name), len(strings.TrimSuffix(c.ID, "*"))):]
}

func inStore(file string) bool {
	dir := path.Dir(file)
	return slices.ContainsFunc(stores, func(top string) bool { return dir == top+store || dir == top+encryptedStore })
}

// Source returns the file that systemd hands over to the unit at a path; the path
// itself where it hands over none there.
func (u Unit) Source(handed string) string {
	id, is := strings.CutPrefix(handed, path.Join(handedOver, u.Name)+"/")
	at := slices.IndexFunc(u.Credentials, func(c Credential) bool { return is && c.ID == id && path.IsAbs(c.Path) })
	if at >= 0 {
		return u.Credentials[at].Path
	}
	for _, c := range u.Credentials { // none is called so, so it is of a directory; of one in that, nothing tells
		if name, below := strings.CutPrefix(id, c.ID+"_"); is && below && path.IsAbs(c.Path) {
			return path.Join(c.Path, name)
		}
	}
	return handed
}

// HandOver returns a plan as it is for files that systemd hands over to the unit:
// whatever the service is told, it finds what it got when it started, until systemd
// hands it over anew. It fails with a *NoWayError where systemd would not take what
// is written.
func HandOver(t Target, f Facts, plan Plan) (Plan, error) {
	var handed []string
	for _, file := range plan.Files {
		if file.Credential == "" {
			continue
		}
		handed = append(handed, file.Path)
		if _, encrypted := f.Unit.credential(file.Path); encrypted {
			return plan, &NoWayError{
				Target: t.Name, About: Reading,
				Why:    fmt.Sprintf("%s expects %s to be encrypted for systemd, and could not be started with what certlatch writes", f.Unit.Name, file.Path),
				Remedy: "name it by LoadCredential= in place of LoadCredentialEncrypted=, and outside of credstore.encrypted: root alone can read it there too",
			}
		}
	}
	if handed == nil {
		return plan, nil
	}
	plan.Fine(Reading, "systemd reads %s as root and hands over what they hold to %s, so no other account has to", strings.Join(handed, ", "), f.Unit.Name)
	if f.Unit.Running() {
		plan.Activate = plan.Activate.handingOver(t, f.Unit)
	} else if f.Master == 0 {
		plan.Test = Test{} // what it would look at is there while the unit runs
	}
	return plan, nil
}

// handingOver returns the activation of a running unit in place of one that would
// let the service read again what it was handed before.
func (a Activation) handingOver(t Target, u Unit) Activation {
	once := u.Name + " is handed its credentials when it starts"
	switch {
	case a.Way == NoWay || a.Way == RestartUnit:
		return a
	case u.RefreshesCredentials && u.CanReload:
		return Activation{Way: ReloadUnit, Unit: u.Name, Why: "a reload hands it its credentials anew (RefreshOnReload=)"}
	case a.Way == RunCommand && a.Written:
		a.Why = once + ", so the command has to restart it"
		return a
	case t.AllowRestart:
		return Activation{Way: RestartUnit, Unit: u.Name, Why: once + ", and a reload would not change them; allow_restart is set, so it is restarted"}
	}
	return Activation{
		Way: NoWay, Unit: u.Name, Wait: RestartNotAllowed, Why: once + ", and a reload would not change them",
		Remedy: fmt.Sprintf("restart %s when it suits, set allow_restart: true for target %s, or let the unit have RefreshOnReload=credentials where its systemd knows that (262 does)", u.Name, t.Name),
	}
}
