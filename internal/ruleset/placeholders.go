package ruleset

import (
	"errors"
	"fmt"
	"hash"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"ashiato/internal/sigma"
)

// ErrPlaceholders says that values of placeholders cannot be read.
var ErrPlaceholders = errors.New("placeholders")

// ReadPlaceholders reads values for the expand modifier:
//
//	values.yml    a map of names to values
//	NAME.txt      the values of one placeholder, one a line
//	a folder      all such files in it, but not in folders below
//
// A name that two files give values for is an error, and so is everything in
// them that cannot be honoured: rules with half of their values would mean
// something else.
func ReadPlaceholders(paths []string) (map[string][]string, error) {
	out := map[string][]string{}
	from := map[string]string{}
	var faults []error
	take := func(file string) error {
		st, err := os.Stat(file)
		if err != nil {
			return err
		}
		data := make([]byte, sigma.MaxFileSize+1) // refused by its size, by name
		if st.Size() <= sigma.MaxFileSize {
			if data, err = os.ReadFile(file); err != nil {
				return err
			}
		}
		name := filepath.ToSlash(file)
		var given map[string][]string
		var errs []error
		if isYAML(file) {
			given, errs = sigma.ParsePlaceholders(name, data)
		} else {
			var placeholder string
			var values []string
			placeholder, values, errs = sigma.ParsePlaceholderList(name, data)
			given = map[string][]string{placeholder: values}
		}
		faults = append(faults, errs...)
		for _, p := range slices.Sorted(maps.Keys(given)) {
			if first, twice := from[p]; twice {
				faults = append(faults, fmt.Errorf("%s: the placeholder %s has values in %s already", name, p, first))
				continue
			}
			out[p], from[p] = given[p], name
		}
		return nil
	}
	for _, path := range paths {
		st, err := os.Stat(path)
		if err != nil {
			return nil, fmt.Errorf("%w: %w", ErrPlaceholders, err)
		}
		files := []string{path}
		if st.IsDir() {
			entries, err := os.ReadDir(path)
			if err != nil {
				return nil, fmt.Errorf("%w: %w", ErrPlaceholders, err)
			}
			files = nil
			for _, e := range entries {
				if e.Type()&fs.ModeDir == 0 && (isYAML(e.Name()) || strings.EqualFold(filepath.Ext(e.Name()), ".txt")) {
					files = append(files, filepath.Join(path, e.Name()))
				}
			}
			if len(files) == 0 {
				return nil, fmt.Errorf("%w: %s holds no .yml and no .txt file", ErrPlaceholders, path)
			}
		}
		for _, f := range files {
			if err := take(f); err != nil {
				return nil, fmt.Errorf("%w: %w", ErrPlaceholders, err)
			}
		}
	}
	if len(faults) > 0 {
		return nil, fmt.Errorf("%w: %w", ErrPlaceholders, errors.Join(faults...))
	}
	return out, nil
}

func isYAML(name string) bool {
	ext := strings.ToLower(filepath.Ext(name))
	return ext == ".yml" || ext == ".yaml"
}

// hashPlaceholders adds values of placeholders to the sum of what rules are made of.
func hashPlaceholders(sum hash.Hash, values map[string][]string) {
	for _, name := range slices.Sorted(maps.Keys(values)) {
		fmt.Fprintf(sum, "placeholder %q %q ", name, values[name])
	}
}
