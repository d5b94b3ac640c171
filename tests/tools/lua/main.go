// Lua prints for each object on standard input, JSON one after the other, what a health check of Argo CD makes of it: a line of JSON with status and
// message. The argument is the file with the check. It runs as in Argo CD: with the same interpreter, the base and table libraries, and a second's
// time.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	lua "github.com/yuin/gopher-lua"
)

func main() {
	check, err := os.ReadFile(os.Args[1])
	objects := json.NewDecoder(os.Stdin)
	for err == nil {
		var object any
		if err = objects.Decode(&object); errors.Is(err, io.EOF) {
			return
		}
		var health map[string]string
		if err == nil {
			health, err = run(string(check), object)
		}
		if err == nil {
			err = json.NewEncoder(os.Stdout).Encode(health)
		}
	}
	fmt.Fprintln(os.Stderr, "error:", err)
	os.Exit(1)
}

func run(check string, object any) (map[string]string, error) {
	state := lua.NewState(lua.Options{SkipOpenLibs: true})
	defer state.Close()
	deadline, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	state.SetContext(deadline)
	for name, library := range map[string]lua.LGFunction{lua.BaseLibName: lua.OpenBase, lua.TabLibName: lua.OpenTable} {
		if err := state.CallByParam(lua.P{Fn: state.NewFunction(library), Protect: true}, lua.LString(name)); err != nil {
			return nil, err
		}
	}
	state.SetGlobal("obj", value(state, object))
	if err := state.DoString(check); err != nil {
		return nil, err
	}
	answer, ok := state.Get(-1).(*lua.LTable)
	if !ok {
		return nil, fmt.Errorf("the check returned no table but %s", state.Get(-1).Type())
	}
	return map[string]string{"status": answer.RawGetString("status").String(), "message": answer.RawGetString("message").String()}, nil
}

func value(state *lua.LState, from any) lua.LValue {
	switch from := from.(type) {
	case bool:
		return lua.LBool(from)
	case float64:
		return lua.LNumber(from)
	case string:
		return lua.LString(from)
	case []any:
		table := state.NewTable()
		for _, item := range from {
			table.Append(value(state, item))
		}
		return table
	case map[string]any:
		table := state.NewTable()
		for key, item := range from {
			table.RawSetString(key, value(state, item))
		}
		return table
	}
	return lua.LNil
}
