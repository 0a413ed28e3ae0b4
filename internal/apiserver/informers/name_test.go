package informers

import "testing"

// TestInformerNames: each server that runs has a name of its own, and one that has stopped gives it back.
func TestInformerNames(t *testing.T) {
	first, second := NewName(), NewName()
	if first.Name() == second.Name() {
		t.Errorf("both are %s", first.Name())
	}
	name := first.Name()
	first.Release()
	third := NewName()
	if third.Name() != name {
		t.Errorf("%s is not free again: the next is %s", name, third.Name())
	}
	second.Release()
	third.Release()
}
